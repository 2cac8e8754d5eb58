//! What a user can rely on, tested against a toy vendor.

mod langfuse;
