// What surrounds every page: where one is, what waits, whether it is current, who is asking.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState, type ReactNode } from "react";
import { NavLink, useLocation } from "react-router";
import { useApprovalStats, useOpenIncidents } from "../api/hooks";
import { useLive } from "../api/live";
import { write } from "../api/client";
import type { Session } from "../api/types";
import { GROUPS, pages } from "../pages";
import { zone } from "../lib/format";
import { applyTheme, theme, type Theme } from "../lib/theme";

const NAV = GROUPS.map((group) => ({
  group,
  links: [
    ...(group === "Now" ? [["/", "Dashboard"]] : []),
    ...pages.filter((page) => page.group === group).map((page) => [page.path, page.name ?? page.path]),
  ] as [string, string][],
}));

function Counter({ n, what }: { n: number | undefined; what: string }) {
  return n ? <span className="counter" aria-label={`${n} ${what}`}>{n}</span> : null;
}

function LiveState() {
  const live = useLive();
  return <p id="live" role="status" className={`live live-${live}`}>{live === "live" ? "live" : live === "lost" ? "reconnecting…" : "connecting…"}</p>;
}

function ThemeChoice() {
  const [chosen, choose] = useState<Theme>(theme());
  return (
    <label className="theme">Theme{" "}
      <select value={chosen} onChange={(event) => { const next = event.target.value as Theme; choose(next); applyTheme(next); }}>
        <option value="system">system</option><option value="light">light</option><option value="dark">dark</option>
      </select>
    </label>
  );
}

export function Shell({ session, children }: { session: Session; children: ReactNode }) {
  const client = useQueryClient();
  const location = useLocation();
  const stats = useApprovalStats();
  const openCount = useOpenIncidents().items?.length;
  const main = useRef<HTMLElement>(null);
  const [menu, setMenu] = useState(false);
  const first = useRef(true);

  useEffect(() => {
    setMenu(false);
    if (first.current) { first.current = false; return; }
    // A new page is read from its beginning, also by who does not see it.
    window.scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [location.pathname]);
  useEffect(() => { document.title = openCount ? `(${openCount}) Tripline` : "Tripline"; }, [openCount]);

  const signOut = async () => {
    await write("DELETE", "/api/v1/session");
    client.clear();
    window.location.assign("/sign-in");
  };
  return (
    <div className="shell">
      <a className="skip" href="#main">To the content</a>
      <header className="top">
        <NavLink to="/" className="brand">Tripline</NavLink>
        <button type="button" className="menu" aria-expanded={menu} aria-controls="nav" onClick={() => setMenu(!menu)}>Menu</button>
        <LiveState />
        <p className="who" title={`Times are of ${zone()}; in UTC on hover`}>{zone()}</p>
        <p className="who">{session.person}{session.dev ? " (dev mode)" : ""} · {session.project}</p>
        <ThemeChoice />
        {session.dev ? null : <button type="button" onClick={() => void signOut()}>Sign out</button>}
      </header>
      <nav id="nav" aria-label="Pages" className={menu ? "open" : ""}>
        {NAV.map(({ group, links }) => (
          <div key={group} className="nav-group">
            <p>{group}</p>
            <ul>
              {links.map(([to, text]) => (
                <li key={to}><NavLink to={to} end={to === "/"}>{text}
                  {to === "/approvals" ? <Counter n={stats.data?.pending} what="pending" /> : null}
                  {to === "/incidents" ? <Counter n={openCount} what="open" /> : null}
                </NavLink></li>
              ))}
            </ul>
          </div>
        ))}
      </nav>
      <main id="main" ref={main} tabIndex={-1}>{children}</main>
    </div>
  );
}
