//! One exchange: the life of a request (floor 5).
