//! Nothing: the manifest is what counts. It gives every selection of packages the same features of each dependency.
