"""The grids on which whole runs must agree, and how closely."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Grid:
    """A grid with the options that change what its ranks do, and the largest relative difference
    of loss and gradient norm from one rank, in fp32."""
    tensor: int
    data: int
    sequence_parallel: bool = False
    zero_stage: int = 1
    first_step: float = 1e-6
    twenty_steps: float = 1e-4
    context: int = 1

    @property
    def ranks(self):
        return self.tensor * self.context * self.data

    @property
    def name(self):
        return (f"{self.tensor}x{self.context}x{self.data}-{self.sequence_parallel}-"
                f"{self.zero_stage}")

    def overrides(self):
        return [f"parallel.tensor={self.tensor}", f"parallel.context={self.context}",
                f"parallel.data={self.data}",
                f"parallel.sequence_parallel={str(self.sequence_parallel).lower()}",
                f"parallel.zero_stage={self.zero_stage}"]


GRIDS = [
    Grid(1, 1, first_step=0.0, twenty_steps=0.0),  # the same bits
    Grid(2, 1),
    Grid(2, 1, sequence_parallel=True),
    Grid(1, 2, zero_stage=0),
    Grid(1, 2),
    Grid(2, 2, zero_stage=0),
    Grid(2, 2),
    Grid(2, 2, sequence_parallel=True, zero_stage=0),
    Grid(2, 2, sequence_parallel=True),
    Grid(4, 1),
    Grid(4, 1, sequence_parallel=True),
    Grid(1, 4, zero_stage=0),
    Grid(1, 4),
    Grid(1, 1, context=2),
    Grid(1, 1, context=4),
    Grid(2, 1, context=2, sequence_parallel=True),
]
SHAPES = sorted({(grid.tensor, grid.context, grid.data) for grid in GRIDS})
