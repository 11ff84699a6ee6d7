//! An app of several replicas behind sidecars that issue cookies, and browsers that keep them.

use std::net::SocketAddr;

use futures::future::join_all;
use tenbin_model::{Affinity, EndpointState, OnDead, OnDrain, SameSite, SessionCookie};

use crate::backend::Backend;
use crate::client::Response;
use crate::harness::Proxy;
use crate::operator::{Operator, name};

const READY: EndpointState = EndpointState::Ready;

/// Sessions with a cookie `tenbin` that lives with the browser.
pub(crate) fn sessions(on_drain: OnDrain, on_dead: OnDead) -> Affinity {
    Affinity::Cookie(SessionCookie {
        name: "tenbin".to_owned(),
        path: "/".to_owned(),
        ttl: None,
        same_site: SameSite::Lax,
        secure: false,
        http_only: true,
        on_drain,
        on_dead,
        keys: name("ns/hello"),
    })
}

/// An app of several replicas, and the operator that tells of them.
pub(crate) struct App {
    pub(crate) operator: Operator,
    pub(crate) replicas: Vec<Backend>,
}

impl App {
    pub(crate) async fn of(n: usize, on_drain: OnDrain, on_dead: OnDead) -> Self {
        let app = App {
            operator: Operator::of(sessions(on_drain, on_dead)).await,
            replicas: join_all((0..n).map(|_| Backend::app())).await,
        };
        app.operator.endpoints(&app.all(READY));
        app
    }

    /// Its replicas, called `pod-0`, `pod-1` and so on.
    pub(crate) fn all(&self, state: EndpointState) -> Vec<(&'static str, SocketAddr, EndpointState)> {
        let names = ["pod-0", "pod-1", "pod-2", "pod-3"].into_iter();
        names
            .zip(&self.replicas)
            .map(|(id, app)| (id, app.address, state))
            .collect()
    }

    /// A sidecar that knows all of it.
    pub(crate) async fn proxy(&self, args: &[&str]) -> Proxy {
        let proxy = Proxy::following(&self.operator, args).await;
        proxy.await_endpoints(&self.all(READY)).await;
        proxy
    }

    /// Which of its replicas a response came from.
    pub(crate) fn at(&self, response: &Response) -> usize {
        let from = response.text();
        self.replicas
            .iter()
            .position(|app| app.address.to_string() == from)
            .unwrap()
    }
}

/// A browser: it keeps what it is told to, and sends it to whichever proxy it meets.
#[derive(Default)]
pub(crate) struct Browser {
    pub(crate) cookie: Option<String>,
}

impl Browser {
    pub(crate) async fn get(&mut self, proxy: &Proxy) -> Response {
        let mut client = proxy.client().await;
        let cookie = self
            .cookie
            .as_ref()
            .map(|cookie| format!("cookie: theme=dark; {cookie}; lang=en\r\n"));
        client
            .send(format!(
                "GET /who HTTP/1.1\r\nhost: test\r\n{}\r\n",
                cookie.unwrap_or_default()
            ))
            .await;
        let response = client.response().await;
        if let Some(told) = response.header("set-cookie") {
            self.cookie = told.split(';').next().map(str::to_owned);
        }
        response
    }

    /// One that sends this and keeps nothing yet.
    pub(crate) fn with(cookie: impl Into<String>) -> Self {
        Browser {
            cookie: Some(cookie.into()),
        }
    }
}

/// How many requests had this outcome.
pub(crate) async fn outcomes(proxy: &Proxy, outcome: &str) -> f64 {
    proxy
        .metric(&format!(
            "tenbin_affinity_total{{listener=\"ns/hello/http\",outcome=\"{outcome}\"}}"
        ))
        .await
}
