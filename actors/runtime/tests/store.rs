//! The store suite on the fake.

#[tokio::test]
async fn the_memory_store_keeps_the_ports_promises() {
    shers_runtime::testing::store_suite::run(shers_runtime::testing::MemoryStore::new()).await;
}

#[tokio::test]
async fn the_store_in_memory_is_a_mirror() {
    shers_runtime::testing::mirror_suite::run(shers_runtime::testing::MemoryStore::new()).await;
}
