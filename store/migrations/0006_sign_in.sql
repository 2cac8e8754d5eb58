-- Signing in to the command centre: links that work once, and the sessions of browsers. Of each only a hash is kept.

CREATE TABLE sign_ins (
    secret_sha256 TEXT    NOT NULL PRIMARY KEY,
    kind          TEXT    NOT NULL CHECK (kind IN ('link', 'session')),
    project_id    TEXT    NOT NULL,
    key_id        TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    FOREIGN KEY (project_id, key_id) REFERENCES api_keys (project_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_ins_expiry ON sign_ins (expires_at);
