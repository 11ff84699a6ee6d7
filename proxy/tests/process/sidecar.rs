//! A sidecar alone: no operator, no endpoint of its own yet.

use crate::backend::{Backend, listen, nobody};
use crate::harness::{Proxy, eventually};

#[tokio::test]
async fn it_serves_its_app_without_an_operator() {
    let app = Backend::app().await;
    let args = [
        "--xds-address=localhost:1",
        "--xds-ca=/nowhere/ca.crt",
        "--xds-token=/nowhere/token",
    ];
    let proxy = Proxy::sidecar(app.address.port(), &args).await;
    assert_eq!(proxy.ask_status("/readyz").await.0, 200);
    let mut client = proxy.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/who").await.text(), app.address.to_string());
    }
    let status = proxy.admin("status").await;
    assert_eq!(
        (&status["streamConnected"], &status["workers"]),
        (&false.into(), &1.into())
    );
    assert_eq!(proxy.endpoints().await[0]["id"], "uid-1");
    assert_eq!(proxy.metric("tenbin_xds_connected").await, 0.0);
    assert_eq!(
        proxy
            .metric("tenbin_requests_total{listener=\"ns/hello/http\",code=\"2xx\"}")
            .await,
        10.0
    );
}

#[tokio::test]
async fn it_is_ready_before_its_app_and_serves_it_once_it_is_there() {
    let (address, socket) = nobody();
    let proxy = Proxy::sidecar(address.port(), &[]).await;
    assert_eq!(proxy.ask_status("/readyz").await.0, 200);
    let mut client = proxy.client().await;
    assert_eq!(
        client.get("/").await.text(),
        "tenbin: 503 UF: no endpoint could be connected to\n"
    );
    let listener = listen(socket);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            crate::backend::read_head(&mut stream).await;
            crate::backend::write(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    eventually("the app serves", async || {
        (client.get("/").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn it_listens_on_every_address_of_the_pod() {
    let app = Backend::app().await;
    let proxy = Proxy::sidecar(app.address.port(), &[]).await;
    assert!(proxy.listeners[0].ip().is_unspecified());
    assert!(proxy.status.unwrap().ip().is_unspecified());
}
