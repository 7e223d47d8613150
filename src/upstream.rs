//! Clusters, endpoints, balancers and pools (floor 3).
