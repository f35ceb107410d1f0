CREATE SCHEMA IF NOT EXISTS hongbao;
CREATE TABLE meta (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE totals (account text PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE accounts (
  user_id bigint PRIMARY KEY,
  available bigint NOT NULL CHECK (available >= 0),
  held bigint NOT NULL CHECK (held >= 0)
) WITH (fillfactor = 80);
CREATE TABLE movements (
  user_id bigint NOT NULL, number bigint NOT NULL, why bigint NOT NULL, amount bigint NOT NULL,
  envelope bigint NOT NULL, at bigint NOT NULL
);
CREATE UNIQUE INDEX movements_of_user ON movements ((number >> 21), user_id, number);
CREATE UNIQUE INDEX claims_of_envelope ON movements ((number >> 21), envelope, number)
  WHERE why = 4;
CREATE TABLE sent (user_id bigint NOT NULL, number bigint NOT NULL, envelope bigint NOT NULL);
CREATE UNIQUE INDEX sent_of_user ON sent ((number >> 21), user_id, number);
CREATE TABLE envelopes (
  envelope bigint PRIMARY KEY,
  sender bigint NOT NULL, order_number bigint NOT NULL, payment bigint NOT NULL,
  total bigint NOT NULL, shares bigint NOT NULL, split bigint NOT NULL, source bigint NOT NULL,
  state bigint NOT NULL, created bigint NOT NULL, opened bigint NOT NULL, closed bigint NOT NULL,
  claimed bigint NOT NULL, claims bigint NOT NULL, refunded bigint NOT NULL,
  returned bigint NOT NULL
) WITH (fillfactor = 80);
CREATE TABLE holds (
  envelope bigint PRIMARY KEY, user_id bigint NOT NULL, amount bigint NOT NULL,
  covered bigint NOT NULL
);
CREATE TABLE cursors (
  arrangement bigint NOT NULL, shard bigint NOT NULL, position bigint NOT NULL,
  batch bigint NOT NULL, checksum bigint NOT NULL, epoch bigint NOT NULL,
  time_ms bigint NOT NULL,
  PRIMARY KEY (arrangement, shard)
);
CREATE TABLE batches (
  first bigint PRIMARY KEY, arrangement bigint NOT NULL, shard bigint NOT NULL,
  position bigint NOT NULL
);
CREATE TABLE transfers (
  reference bigint PRIMARY KEY, user_id bigint NOT NULL, why bigint NOT NULL,
  amount bigint NOT NULL, at bigint NOT NULL
);
CREATE TABLE resolutions (
  id text PRIMARY KEY, reason text NOT NULL, at bigint NOT NULL, action text NOT NULL
);
INSERT INTO meta VALUES ('version', 1), ('next', 1), ('cell', -1);
INSERT INTO totals VALUES ('outside', 0), ('held', 0), ('escrow', 0);
