-- Stores fields of a held job without moving it on. ARGV: id, fence, then field/value pairs.
-- Returns 1, or 0 when the caller no longer holds the job.
if not holds(ARGV[2]) then return 0 end
set_fields(3)
return 1
