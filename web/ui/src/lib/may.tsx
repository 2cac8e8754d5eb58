// What the key in use may do. A button that may not be pressed is there all the same, and says what it would take.
import type { ReactNode } from "react";
import { useSession } from "../api/hooks";
import type { Session } from "../api/types";

export type Scope = Session["scopes"][number];
export type May = { may: boolean; why: string | undefined };

/** Whether the session has a scope (`admin` has them all), and what to say where it has not. */
export function useMay(scope: Scope, what = "This"): May {
  const session = useSession();
  const scopes = session.data?.scopes ?? [];
  const may = scopes.includes(scope) || scopes.includes("admin");
  return { may, why: may || !session.data ? undefined : `${what} takes a key with the scope ${scope}; yours has ${scopes.join(", ") || "none"}.` };
}

/** The same for what is the installation's: no key of another project may, whatever its scopes. */
export function useMayHere(scope: Scope, what = "This"): May {
  const session = useSession();
  const may = useMay(scope, what);
  if (session.data?.installation !== false) return may;
  return { may: false, why: `${what} belongs to the installation: it takes a key of its own project, and yours is of ${session.data.project}.` };
}

/** What is only the installation's, or why it is not shown. */
export function OfInstallation({ what, children }: { what: string; children: ReactNode }) {
  const session = useSession();
  if (session.data?.installation !== false) return <>{children}</>;
  return <p className="empty">{what} belong to the installation: a key of its own project sees them; yours is of {session.data.project}.</p>;
}

/** Why a button may not be pressed, for eyes and for `aria-describedby`. */
export const Why = ({ id, may }: { id?: string; may: May }) => (may.why ? <span id={id} className="hint why">{may.why}</span> : null);
