// A page that cannot be drawn, or whose code cannot be loaded, takes nothing else with it.
import { Component, type ReactNode } from "react";
import { PageTitle } from "./bits";

/** What browsers say of a part that could not be loaded. */
const MISSING = /dynamically imported module|Importing a module script failed|Unable to preload|error loading/i;

export class Boundary extends Component<{ /** Another page is another try. */ at: string; children: ReactNode }, { error: unknown; at: string }> {
  override state = { error: null as unknown, at: this.props.at };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  static getDerivedStateFromProps(props: { at: string }, state: { error: unknown; at: string }) {
    return props.at === state.at ? null : { error: null, at: props.at };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    const message = error instanceof Error ? error.message : String(error);
    return (
      <>
        <PageTitle>{MISSING.test(message) ? "This page could not be loaded" : "This page cannot be shown"}</PageTitle>
        <div className="error" role="alert">
          <p>{MISSING.test(message) ? "The server did not answer, or was updated since this tab was opened." : <><strong>Something is wrong with the page itself</strong>: {message}</>}</p>
          <p>What other pages show is not touched by it.</p>
          <button type="button" onClick={() => window.location.reload()}>Load it again</button>
        </div>
      </>
    );
  }
}
