#pragma once

namespace espalier {

/// The first thing a program does. A standard stream that is closed gets a place holder, on which
/// reading or writing fails: otherwise the next file or socket that is opened takes its number, and
/// with it what the program prints, or gives it what is no input. And a reader of standard output
/// that goes away becomes an error of writing, which has a message and a status, in place of a
/// signal that ends the program (SIGPIPE).
void prepare_standard_streams();

}  // namespace espalier
