import { render } from "@testing-library/react";
import { expect, test } from "vitest";
import { DigestText } from "./digest-text";

test("what was escaped for Markdown is read as it was, and is text", () => {
  const { container } = render(<DigestText text={"## What broke\n- Most often: \"&lt;b&gt;&amp;amp; \\*region\\*&lt;/b&gt;\", `a&lt;b`, **9 times**"} />);
  expect(container.querySelector("li")?.textContent).toBe('Most often: "<b>&amp; *region*</b>", a<b, 9 times');
  expect([...container.querySelectorAll("li *")].map((each) => each.tagName.toLowerCase()).filter((name) => name === "b")).toEqual([]);
  expect(container.querySelector("h3")?.textContent).toBe("What broke");
});
