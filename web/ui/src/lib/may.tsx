// What the key in use may do. A button that may not be pressed is there all the same, and says what it would take.
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

/** Why a button may not be pressed, for eyes and for `aria-describedby`. */
export const Why = ({ id, may }: { id?: string; may: May }) => (may.why ? <span id={id} className="hint why">{may.why}</span> : null);
