-- Where the links of a callback lead, as its first attempt said: a resend is the same message, byte for byte, whatever
-- address the service has by then.
ALTER TABLE requests ADD COLUMN callback_base text;
