//! The bridge keeps the wire's promises on a real broker.

mod rig;

use shers_runtime::testing::wire_suite;

#[actix_rt::test]
async fn the_bridge_passes_the_suite_on_a_real_broker() {
    let Some(url) = rig::broker("the wire's suite over AMQP") else { return };
    wire_suite::run(&rig::Rig::new(url)).await;
}
