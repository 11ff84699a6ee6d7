//! Counts requests to the API server by what RBAC grants: a layer of the Kubernetes client. It reads method and URL and changes
//! nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use tower::{Layer, Service};

use super::{Metrics, RequestLabels};

/// The layer.
#[derive(Clone, Debug)]
pub struct CountRequests {
    metrics: Arc<Metrics>,
}

impl CountRequests {
    /// Counts into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        CountRequests { metrics }
    }
}

impl<S> Layer<S> for CountRequests {
    type Service = CountingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountingService {
            inner,
            metrics: self.metrics.clone(),
        }
    }
}

/// What the layer makes of a client.
#[derive(Clone, Debug)]
pub struct CountingService<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B, R> Service<Request<B>> for CountingService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let what = what(
            request.method(),
            request.uri().path(),
            request.uri().query().unwrap_or(""),
        );
        let metrics = self.metrics.clone();
        let call = self.inner.call(request);
        Box::pin(async move {
            let result = call.await;
            if let Some((verb, group, resource)) = what {
                let code = result.as_ref().map_or(0, |response| response.status().as_u16());
                let labels = RequestLabels {
                    verb,
                    group,
                    resource,
                    code,
                };
                metrics.api_requests.get_or_create(&labels).inc();
            }
            result
        })
    }
}

/// Verb, group and resource of a request, as RBAC names them; none for what is no resource (`/version`).
fn what(method: &Method, path: &str, query: &str) -> Option<(&'static str, String, String)> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let group = match parts.next()? {
        "api" => "",
        "apis" => parts.next()?,
        _ => return None,
    };
    let _version = parts.next()?;
    let mut rest: Vec<&str> = parts.collect();
    // The namespace comes first, unless the namespace itself is what is asked for.
    if rest.len() > 2 && rest[0] == "namespaces" {
        rest.drain(..2);
    }
    let (&kind, rest) = rest.split_first()?;
    let named = !rest.is_empty();
    let resource = match rest.get(1) {
        Some(sub) => format!("{kind}/{sub}"),
        None => kind.to_owned(),
    };
    let watch = query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1");
    let verb = match (method, named) {
        (&Method::GET, _) if watch => "watch",
        (&Method::GET, true) => "get",
        (&Method::GET, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        _ => return None,
    };
    Some((verb, group.to_owned(), resource))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_rbac_names_them() {
        let cases = [
            (
                Method::GET,
                "/api/v1/pods",
                "labelSelector=a&limit=500",
                "list",
                "",
                "pods",
            ),
            (
                Method::GET,
                "/api/v1/pods",
                "&watch=true&timeoutSeconds=170",
                "watch",
                "",
                "pods",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a/services/hello",
                "",
                "get",
                "",
                "services",
            ),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/hello",
                "force=true",
                "patch",
                "apps",
                "deployments",
            ),
            (
                Method::PATCH,
                "/apis/tenbin.dev/v1alpha1/namespaces/a/balancedapps/hello/status",
                "",
                "patch",
                "tenbin.dev",
                "balancedapps/status",
            ),
            (
                Method::POST,
                "/apis/authentication.k8s.io/v1/tokenreviews",
                "",
                "create",
                "authentication.k8s.io",
                "tokenreviews",
            ),
            (Method::GET, "/api/v1/namespaces", "", "list", "", "namespaces"),
            (Method::GET, "/api/v1/namespaces/a", "", "get", "", "namespaces"),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/controllerrevisions/x",
                "",
                "delete",
                "apps",
                "controllerrevisions",
            ),
        ];
        for (method, path, query, verb, group, resource) in cases {
            let expected = (verb, group.to_owned(), resource.to_owned());
            assert_eq!(what(&method, path, query), Some(expected), "{method} {path}");
        }
        assert_eq!(what(&Method::GET, "/version", ""), None);
    }
}
