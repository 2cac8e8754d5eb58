// A digest's Markdown as it reads in Slack: headings, bullets, bold, code. Made of elements, never of HTML, so that what a
// vendor wrote stays text.
import type { ReactNode } from "react";

function inline(text: string): ReactNode[] {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part, index) => {
    if (/^\*\*.+\*\*$/.test(part)) return <strong key={index}>{plain(part.slice(2, -2))}</strong>;
    if (/^`.+`$/.test(part)) return <code key={index}>{part.slice(1, -1).replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&")}</code>;
    return <span key={index}>{plain(part)}</span>;
  });
}
/** Without the backslashes and entities that keep Markdown from reading what is text. It becomes text, and nothing else, here too. */
export const plain = (text: string) => text.replace(/\\([\\`*_{}[\]()#+\-.!~|<>$@])/g, "$1").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");

export function DigestText({ text, short = false }: { text: string; short?: boolean }) {
  const blocks: ReactNode[] = [];
  let bullets: ReactNode[] = [];
  const flush = () => { if (bullets.length) { blocks.push(<ul key={blocks.length}>{bullets}</ul>); bullets = []; } };
  const rows = text.split("\n");
  for (const row of short ? rows.slice(0, 14) : rows) {
    const bullet = /^\s*[-*•]\s+(.*)$/.exec(row);
    const heading = /^#{1,4}\s+(.*)$/.exec(row);
    if (bullet) bullets.push(<li key={bullets.length}>{inline(bullet[1] ?? "")}</li>);
    else {
      flush();
      if (heading) blocks.push(<h3 key={blocks.length}>{inline(heading[1] ?? "")}</h3>);
      else if (row.trim()) blocks.push(<p key={blocks.length}>{inline(row)}</p>);
    }
  }
  flush();
  return <div className="digest-text">{blocks}{short && rows.length > 14 ? <p>…</p> : null}</div>;
}
