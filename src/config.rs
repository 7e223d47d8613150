//! The declarative file: text to a tree with positions, to a checked model (floor 1).
