//! What a TokenReview's answer says: a pure judgement. No client, no clock, and no token.

use k8s_openapi::api::authentication::v1::TokenReviewStatus;

/// Who a reviewed token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// As the API server knows it: `system:serviceaccount:<namespace>:<name>`.
    pub user_name: String,
    /// The pod that the token is bound to.
    pub pod: Option<BoundPod>,
}

/// The pod that a token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPod {
    /// Namespace of the ServiceAccount, hence of the pod.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
}

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token came.
    #[error("no bearer token in the `authorization` metadata")]
    NoToken,
    /// The API server does not know the token, or it ended.
    #[error("the token is not valid")]
    BadToken,
    /// A token for something else.
    #[error("the token is not meant for this service: wrong audience")]
    WrongAudience,
    /// A token bound to no pod.
    #[error("the token is not bound to a pod")]
    NotAPod,
    /// A pod that belongs to no BalancedApp.
    #[error("the token's pod belongs to no BalancedApp")]
    NoApp,
    /// A token of somebody else than an operator replica.
    #[error("the token is not an operator's")]
    NotAPeer,
    /// It can't be found out now.
    #[error("the token can't be reviewed now, try again")]
    Unavailable,
}

impl Refusal {
    /// The metric's label.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::NoToken => "no_token",
            Refusal::BadToken => "bad_token",
            Refusal::WrongAudience => "wrong_audience",
            Refusal::NotAPod => "not_a_pod",
            Refusal::NoApp => "no_app",
            Refusal::NotAPeer => "not_a_peer",
            Refusal::Unavailable => "unavailable",
        }
    }

    /// What the client is told: to bring another token, to go away, or to come back.
    pub fn to_status(self) -> tonic::Status {
        let text = self.to_string();
        match self {
            Refusal::NoToken | Refusal::BadToken | Refusal::WrongAudience => tonic::Status::unauthenticated(text),
            Refusal::NotAPod | Refusal::NoApp | Refusal::NotAPeer => tonic::Status::permission_denied(text),
            Refusal::Unavailable => tonic::Status::unavailable(text),
        }
    }
}

/// Judges the answer to a review that asked for `audience`.
pub(super) fn judge(status: TokenReviewStatus, audience: &str) -> Result<Caller, Refusal> {
    if status.authenticated != Some(true) {
        // The API server answers a token of another audience as not authenticated, with the reason in words.
        let wrong = status.error.is_some_and(|e| e.contains("audience"));
        return Err(if wrong {
            Refusal::WrongAudience
        } else {
            Refusal::BadToken
        });
    }
    if !status.audiences.is_some_and(|have| have.iter().any(|a| a == audience)) {
        return Err(Refusal::WrongAudience);
    }
    let user = status.user.unwrap_or_default();
    let user_name = user.username.unwrap_or_default();
    let extra = user.extra.unwrap_or_default();
    let one = |key: &str| match extra.get(key).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Some(value.clone()),
        _ => None,
    };
    let namespace = service_account_namespace(&user_name)
        .ok_or(Refusal::NotAPod)?
        .to_owned();
    let name = one("authentication.kubernetes.io/pod-name");
    let uid = one("authentication.kubernetes.io/pod-uid");
    let pod = name.zip(uid).map(|(name, uid)| BoundPod { namespace, name, uid });
    Ok(Caller { user_name, pod })
}

/// `a` of `system:serviceaccount:a:b`.
fn service_account_namespace(user_name: &str) -> Option<&str> {
    let (namespace, name) = user_name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty()).then_some(namespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::authentication::v1::UserInfo;

    fn good() -> TokenReviewStatus {
        let extra = |key: &str, value: &str| (format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec!["aud".to_owned()]),
            user: Some(UserInfo {
                username: Some("system:serviceaccount:shop:default".to_owned()),
                extra: Some([extra("pod-name", "hello-1"), extra("pod-uid", "u-1")].into()),
                ..Default::default()
            }),
            error: None,
        }
    }

    #[test]
    fn a_good_review_names_the_pod() {
        let caller = judge(good(), "aud").expect("good");
        let pod = caller.pod.expect("bound");
        assert_eq!((&*pod.namespace, &*pod.name, &*pod.uid), ("shop", "hello-1", "u-1"));
        assert_eq!(caller.user_name, "system:serviceaccount:shop:default");
    }

    #[test]
    fn whatever_is_missing_is_refused() {
        let refused = |change: fn(&mut TokenReviewStatus)| {
            let mut status = good();
            change(&mut status);
            judge(status, "aud").expect_err("refused")
        };
        assert_eq!(refused(|s| s.authenticated = None), Refusal::BadToken);
        assert_eq!(refused(|s| s.authenticated = Some(false)), Refusal::BadToken);
        assert_eq!(refused(|s| s.audiences = None), Refusal::WrongAudience);
        assert_eq!(
            refused(|s| s.audiences = Some(vec!["other".to_owned()])),
            Refusal::WrongAudience
        );
        assert_eq!(refused(|s| s.user = None), Refusal::NotAPod);
        let foreign = |s: &mut TokenReviewStatus| s.user.get_or_insert_default().username = Some("alice".to_owned());
        assert_eq!(refused(foreign), Refusal::NotAPod);
        let words = |s: &mut TokenReviewStatus| {
            s.authenticated = Some(false);
            s.error = Some("token audiences [\"a\"] is invalid for the target audiences [\"aud\"]".to_owned());
        };
        assert_eq!(refused(words), Refusal::WrongAudience);
    }

    #[test]
    fn a_token_without_exactly_one_pod_is_bound_to_none() {
        let pod_of = |uids: Option<&[&str]>| {
            let mut status = good();
            let extra = status.user.get_or_insert_default().extra.get_or_insert_default();
            let key = "authentication.kubernetes.io/pod-uid".to_owned();
            match uids {
                Some(uids) => extra.insert(key, uids.iter().map(|&uid| uid.to_owned()).collect()),
                None => extra.remove(&key),
            };
            judge(status, "aud").expect("valid").pod
        };
        assert!(pod_of(Some(&["u-1"])).is_some());
        for uids in [None, Some(&[][..]), Some(&[""][..]), Some(&["u-1", "u-2"][..])] {
            assert_eq!(pod_of(uids), None, "{uids:?}");
        }
        let mut status = good();
        status.user.get_or_insert_default().extra = None;
        assert_eq!(judge(status, "aud").expect("valid").pod, None);
    }
}
