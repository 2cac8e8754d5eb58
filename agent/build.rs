//! Says that the crate is compiled anew when a query that is compiled into it changes.

fn main() {
    println!("cargo::rerun-if-changed=../queries");
}
