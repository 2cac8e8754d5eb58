//! narrate
