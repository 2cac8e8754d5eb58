import { useQueryClient } from "@tanstack/react-query";
import { Suspense, useEffect } from "react";
import { Link, Navigate, Route, Routes, useLocation } from "react-router";
import { useSession } from "./api/hooks";
import { useLiveStream } from "./api/live";
import { ApiError, write } from "./api/client";
import { Boundary } from "./components/boundary";
import { Shell } from "./components/shell";
import { PageTitle } from "./components/bits";
import { Failure, Loading } from "./components/states";
import { setServerTime } from "./lib/format";
import { Dashboard } from "./pages/dashboard";
import { SignIn } from "./pages/sign-in";
import { pages } from "./pages";

/** Messages in Slack that were sent before there were addresses per page. */
const linked = () => /^#incident=([A-Za-z0-9-]{1,64})$/.exec(window.location.hash)?.[1];

export function App() {
  const session = useSession();
  const client = useQueryClient();
  const location = useLocation();
  const signedIn = session.data !== undefined;
  useLiveStream(signedIn);
  useEffect(() => { if (session.data) setServerTime(session.data.now); }, [session.data]);

  // A session that ended while the page was open: whatever is refused asks who it is.
  useEffect(() => client.getQueryCache().subscribe((event) => {
    const error = event.query.state.error;
    if (event.type === "updated" && error instanceof ApiError && error.status === 401 && event.query.queryKey[0] !== "session") {
      client.setQueryData(["session"], undefined);
      void client.resetQueries({ queryKey: ["session"] });
    }
  }), [client]);

  if (location.pathname === "/sign-in") return <SignIn />;
  if (session.isError && session.error instanceof ApiError && (session.error.status === 401 || session.error.status === 403)) {
    return <SignIn refused={session.error} />;
  }
  if (!session.data) {
    return <main className="alone">{session.isError ? <Failure error={session.error} again={() => void session.refetch()} /> : <Loading />}</main>;
  }
  const { scopes } = session.data;
  if (!scopes.includes("read") && !scopes.includes("admin")) {
    const out = () => void write("DELETE", "/api/v1/session").then(() => { client.clear(); window.location.assign("/sign-in"); });
    return <main className="alone"><h1>Tripline</h1><p>This key has the scope {scopes.join(", ")}, and these pages are for reading: they take one with <code>read</code> (<code>tripline keys create NAME --scope read</code>).</p><p><button type="button" onClick={out}>Sign in with another key</button></p></main>;
  }
  const incident = linked();
  return (
    <Shell session={session.data}>
      <Boundary at={location.pathname}><Suspense fallback={<Loading />}>
        <Routes>
          <Route path="/" element={incident ? <Navigate to={`/incidents/${encodeURIComponent(incident)}`} replace /> : <Dashboard />} />
          {pages.map(({ path, View }) => <Route key={path} path={path} element={<View />} />)}
          <Route path="*" element={<><PageTitle>There is no such page</PageTitle><p className="empty">The address may be of an older or newer version. <Link to="/">To the dashboard</Link></p></>} />
        </Routes>
      </Suspense></Boundary>
    </Shell>
  );
}
