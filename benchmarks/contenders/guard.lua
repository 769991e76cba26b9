-- The part of our job that fits in thirty lines: top-level and MCP session ids, owner compared, created once.
-- It has no strict reader, no duplicate keys, no ambiguous paths, no expiry, no revocation and no metrics.
if ngx.req.get_method() ~= "POST" then return end
local json = require "cjson.safe"
ngx.req.read_body()
local document = json.decode(ngx.req.get_body_data() or "")
if type(document) ~= "table" then return ngx.exit(400) end
local fields = document.params and document.params.arguments or document
local session, user = fields.session_id, fields.user_id
if type(session) ~= "string" or type(user) ~= "string" then return ngx.exit(422) end

local owner = ngx.shared.sessions:get(session)
if owner == user then return end
if owner then return ngx.exit(403) end
local answer = ngx.location.capture(
    "/api/v1/sessions/" .. ngx.escape_uri(session),
    { method = ngx.HTTP_PUT, body = json.encode({ user_id = user }) }
)
if answer.status ~= 200 and answer.status ~= 201 then return ngx.exit(answer.status) end
ngx.shared.sessions:set(session, user)
