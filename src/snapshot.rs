//! A checked configuration compiled into what requests use (floor 4).
