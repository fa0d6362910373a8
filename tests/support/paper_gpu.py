"""A device for tests of plans: about a B200. The figures of inputs/devices may change, what is
tested with this one does not."""

DEVICE = """
[hardware]
name = "{name}"
kind = "gpu"
compute_capability = 100
multiprocessors = 148
memory_gib = {gib}
peak_bf16_tflops = 2250.0
peak_fp8_tflops = 4500.0
peak_fp32_tflops = 80.0
product_bf16_tflops = 1745.0
product_fp8_tflops = 3432.0
product_fp32_tflops = 70.0
attention_forward_tflops = 1100.0
attention_backward_tflops = 900.0
attention_forward_half = 1500.0
attention_backward_half = 1750.0
memory_gbs = 8000.0
copy_gbs = 6500.0
overhead_us = 3.0
devices_per_node = 8
link_gbs = 900.0
link_bus_gbs = 720.0
link_latency_us = 2.0
network_gbs = 50.0
network_bus_gbs = 47.0
network_latency_us = 5.0
communication_multiprocessors = 16
storage_gbs = 10.0
"""


def write_device(folder, name="paper", gib=178.0, title=None):
    """<folder>/<name>.toml, and its path. `title`: what tables call the device; None: the name."""
    path = folder / f"{name}.toml"
    path.write_text(DEVICE.format(name=title or name, gib=gib))
    return path
