use super::*;
use chrono::TimeDelta;

/// The example of Slack's documentation.
const BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
const STAMP: &str = "1531420618";
const SIGNATURE: &str = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";

fn secret() -> SecretString {
    SecretString::from("8f742231b10e8888abcd99yyyzzz85a5".to_owned())
}

fn headers(stamp: &str, signature: &str) -> SignatureHeaders {
    SignatureHeaders { timestamps: vec![stamp.into()], signatures: vec![signature.into()] }
}

fn then() -> DateTime<Utc> {
    DateTime::from_timestamp(1_531_420_618, 0).unwrap()
}

fn check(headers: &SignatureHeaders, body: &str, now: DateTime<Utc>) -> Result<Verified, Refusal> {
    verify(Some(&secret()), headers, body.as_bytes(), now)
}

#[test]
fn the_example_of_slacks_documentation_is_accepted() {
    let verified = check(&headers(STAMP, SIGNATURE), BODY, then()).unwrap();
    assert_eq!(verified.signature, SIGNATURE);
}

#[test]
fn a_forged_signature_is_refused() {
    let mut forged = SIGNATURE.to_owned();
    forged.replace_range(10..11, "0");
    assert_eq!(check(&headers(STAMP, &forged), BODY, then()), Err(Refusal::Forged));
    assert_eq!(check(&headers(STAMP, SIGNATURE), &BODY.replace("foobar", "foobaz"), then()), Err(Refusal::Forged));
    // The stamp is signed too.
    assert_eq!(check(&headers("1531420619", SIGNATURE), BODY, then()), Err(Refusal::Forged));
    let other = SecretString::from("another".to_owned());
    let refused = verify(Some(&other), &headers(STAMP, SIGNATURE), BODY.as_bytes(), then());
    assert_eq!(refused, Err(Refusal::Forged));
}

#[test]
fn a_stamp_is_accepted_up_to_300_seconds_off_in_either_direction() {
    for (seconds, stale) in [(-301, true), (-300, false), (0, false), (300, false), (301, true)] {
        let result = check(&headers(STAMP, SIGNATURE), BODY, then() + TimeDelta::seconds(seconds));
        assert_eq!(result == Err(Refusal::Stale), stale, "{seconds} s");
    }
}

#[test]
fn without_a_secret_nobody_is_let_in() {
    let blank = SecretString::from("  ".to_owned());
    for secret in [None, Some(&blank)] {
        assert_eq!(verify(secret, &headers(STAMP, SIGNATURE), BODY.as_bytes(), then()), Err(Refusal::NoSecret));
    }
}

#[test]
fn a_missing_doubled_or_odd_header_is_refused() {
    let check = |stamps: &[&[u8]], signatures: &[&[u8]]| {
        let values = |values: &[&[u8]]| values.iter().map(|value| value.to_vec()).collect();
        let headers = SignatureHeaders { timestamps: values(stamps), signatures: values(signatures) };
        verify(Some(&secret()), &headers, BODY.as_bytes(), then()).unwrap_err()
    };
    let (stamp, signature) = (STAMP.as_bytes(), SIGNATURE.as_bytes());
    assert_eq!(check(&[], &[signature]), Refusal::Unsigned);
    assert_eq!(check(&[stamp], &[]), Refusal::Unsigned);
    assert_eq!(check(&[b""], &[signature]), Refusal::Unsigned);
    assert_eq!(check(&[stamp, stamp], &[signature]), Refusal::MalformedHeader);
    assert_eq!(check(&[stamp], &[signature, signature]), Refusal::MalformedHeader);
    assert_eq!(check(&[stamp], &[b"v0=\xff\xfe"]), Refusal::MalformedHeader);
    assert_eq!(check(&[b"\xff"], &[signature]), Refusal::MalformedHeader);
    for stamp in ["+1531420618", " 1531420618", "1531420618.0", "1e9", "-1", "99999999999999999999", "soon"] {
        assert_eq!(check(&[stamp.as_bytes()], &[signature]), Refusal::MalformedHeader, "{stamp}");
    }
    let upper = SIGNATURE.to_uppercase().replace("V0", "v0");
    for signature in ["v1=00", "v0=", "v0=zz", &SIGNATURE[3..], &upper] {
        assert_eq!(check(&[stamp], &[signature.as_bytes()]), Refusal::MalformedHeader, "{signature}");
    }
}
