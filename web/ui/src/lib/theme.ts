/** Light, dark, or as the system has it. Kept per browser. */
export type Theme = "system" | "light" | "dark";
const KEY = "tripline-theme";

export function theme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function applyTheme(next: Theme = theme()) {
  if (next === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, next);
  document.documentElement.style.colorScheme = next === "system" ? "light dark" : next;
}
