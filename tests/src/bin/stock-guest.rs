//! The init of a guest with a distribution's kernel.

fn main() {
    monocore_tests::stock_guest::main();
}
