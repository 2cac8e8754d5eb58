// Whether there is room for two columns, as the style sheet has it.
import { useSyncExternalStore } from "react";

const asked = () => window.matchMedia?.("(max-width: 60rem)");
const subscribe = (listener: () => void) => { const media = asked(); media?.addEventListener("change", listener); return () => media?.removeEventListener("change", listener); };

/** True where what stands beside the work on a wide screen comes after it. */
export const useNarrow = () => useSyncExternalStore(subscribe, () => asked()?.matches ?? false);
