// Signing in: with an API key, or by a link that works once. The link's secret is behind the #, so it is in no request, and it
// is taken off the address before it is used.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { useLocation, useNavigate } from "react-router";
import { post, type ApiError } from "../api/client";
import type { Session } from "../api/types";
import { Failure } from "../components/states";

export function SignIn({ refused }: { refused?: ApiError }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const location = useLocation();
  const [secret, setSecret] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(refused && refused.status !== 401 ? refused : null);
  const tried = useRef(false);

  const signIn = async (with_: string) => {
    setBusy(true);
    setError(null);
    try {
      const session = await post<Session>("/api/v1/session", { secret: with_ });
      client.setQueryData(["session"], session);
      if (location.pathname === "/sign-in") navigate("/", { replace: true });
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
      setSecret("");
    }
  };
  useEffect(() => {
    const link = /^#link=(tll_[A-Za-z0-9_-]+)$/.exec(window.location.hash)?.[1];
    if (!link || tried.current) return;
    tried.current = true;
    window.history.replaceState(null, "", window.location.pathname);
    void signIn(link);
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (secret.trim()) void signIn(secret.trim());
  };
  return (
    <main className="alone">
      <h1>Tripline</h1>
      <form className="card" onSubmit={submit} aria-labelledby="sign-in-title">
        <h2 id="sign-in-title">Sign in</h2>
        <p>With an API key, or with the address that <code>tripline keys link</code> prints. The browser stays signed in for seven days, as long as the key is good.</p>
        <p><label>API key <input type="password" name="secret" autoComplete="off" spellCheck={false} required value={secret} onChange={(event) => setSecret(event.target.value)} autoFocus /></label></p>
        {error ? <Failure error={error} /> : null}
        <p><button type="submit" className="primary" disabled={busy}>{busy ? "Signing in…" : "Sign in"}</button></p>
      </form>
    </main>
  );
}
