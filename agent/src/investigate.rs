//! investigate
