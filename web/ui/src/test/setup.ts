import { afterEach } from "vitest";
import { cleanup, configure } from "@testing-library/react";

// What is waited for comes at once, or never; on a busy machine "at once" may be some seconds.
configure({ asyncUtilTimeout: 15_000 });
afterEach(cleanup);
