package admin

import (
	"fmt"
	"net/http"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
	"github.com/ttydrain/ttydrain/pipeline/drain"
	"github.com/ttydrain/ttydrain/pipeline/operate"
	"github.com/ttydrain/ttydrain/pipeline/trail"
	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

// OpenAPI returns the OpenAPI 3.1 document of the HTTP API, in JSON. It describes all operations,
// whichever of them a process has.
func OpenAPI() []byte {
	document, err := description(new(Options).routes(new(api))).Document()
	if err != nil {
		panic(fmt.Sprintf("admin: %v", err)) // a test writes the document
	}
	return document
}

// description returns the description of routes.
func description(routes []route) *openapi.API {
	d := &openapi.API{
		Title: "ttydrain admin API", Version: "1", License: "Apache-2.0",
		About: "Operations on drains, dead letters and sessions. Errors of paths below /api/ have the form {\"error\": TEXT}. " +
			"Unknown parameters and fields are refused. Responses may get more fields in later versions. `Accept` is ignored.",
		Tags: []openapi.Tag{
			{Name: tagSessions, About: "Sessions, running or ended, and their output."},
			{Name: tagDrains, About: "Drains: their status, tests, pauses and rewinds. They need a process that runs the router; others answer 404."},
			{Name: tagDeadLetters, About: "Records that a drain has refused permanently. They need a process that runs the router; others answer 404."},
			{Name: tagRecords, About: "Records as they are on the stream. They need a process that runs the router; others answer 404."},
			{Name: tagAudit, About: "What operators did: see `ttydrain docs audit-trail`."},
			{Name: tagServer, About: "The server itself."},
		},
		Paths: map[string]openapi.Parameter{
			"id":     {Name: "id", About: "the ID of a session (`operation_id`)"},
			"name":   {Name: "name", About: "the name of a drain"},
			"number": {Name: "number", Kind: openapi.Count, About: "the number of a dead letter"},
		},
		Fields: fields,
		Rules: map[string]openapi.Schema{
			"KillRequest": {"oneOf": []openapi.Schema{
				{"required": []string{"operations"}},
				{"anyOf": []openapi.Schema{{"required": []string{"app"}}, {"required": []string{"user"}}}},
			}},
			"RewindRequest": {"oneOf": []openapi.Schema{{"required": []string{"to"}}, {"required": []string{"operation"}}}},
		},
		Schemas: map[string]openapi.Schema{
			"Record":   {"type": "object", "description": "A record as drains receive it: `ttydrain schema record` prints its JSON Schema."},
			"Document": {"type": "object"},
		},
		Error: refused{},
		Refusals: map[int]openapi.Refusal{
			http.StatusBadRequest:            {About: "A parameter or the body is invalid."},
			http.StatusUnauthorized:          {About: "The token or the login is missing or wrong.", Headers: map[string]string{"WWW-Authenticate": "`Bearer`"}},
			http.StatusForbidden:             {About: "The request comes from another site, from an address that the console does not serve, or asks for what the caller may not see."},
			http.StatusNotFound:              {About: "The session, drain or dead letter does not exist, or this process does not run the router."},
			http.StatusConflict:              {About: "The state does not allow it. The error says what does."},
			http.StatusRequestEntityTooLarge: {About: "The body is longer than 1 MiB."},
			http.StatusUnsupportedMediaType:  {About: "The body is not application/json."},
			http.StatusMisdirectedRequest:    {About: "The request is for a host that is not this server's: see `admin.hosts`."},
			http.StatusTooManyRequests:       {About: "Too many wrong tokens came from this address.", Headers: map[string]string{"Retry-After": "the seconds to wait"}},
			http.StatusBadGateway:            {About: "NATS, a gateway or a drain did not answer, or refused."},
		},
		Common: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMisdirectedRequest, http.StatusTooManyRequests, http.StatusBadGateway},
		Security: map[string]openapi.Schema{
			schemeToken: {"type": "http", "scheme": "bearer", "description": "The admin token (`admin.token`, or the file admin.token of the store)."},
			schemeSession: {"type": "apiKey", "in": "cookie", "name": console.CookieName,
				"description": "A login to the console, in browsers. Requests from pages of another site are refused by `Sec-Fetch-Site` or `Origin`; " +
					"the cookie is SameSite=Strict. Where a proxy authenticates users (`admin.console.proxy_header`), its header replaces the cookie."},
		},
	}
	for i := range routes {
		d.Operations = append(d.Operations, routes[i].Operation)
	}
	return d
}

// fields describe the fields of the bodies.
var fields = map[string]openapi.Field{
	"Refused.error": {About: "The reason, and what to do."},

	"DrainStatus.name":               {About: "The name of the drain."},
	"DrainStatus.state":              {About: "The worst state of its partitions; `unattended` if no process delivers to it.", Values: append([]string{operate.Unattended}, drain.States...)},
	"DrainStatus.lag_records":        {About: "The number of recorded and undelivered records."},
	"DrainStatus.lag_at_least":       {About: "Whether there are more than `lag_records`, which are still being counted."},
	"DrainStatus.lag_segments":       {About: "The number of segments that hold them."},
	"DrainStatus.lag_seconds":        {About: "The age of the oldest of them in seconds."},
	"DrainStatus.delivered":          {About: "The number of records that were delivered since the router has started."},
	"DrainStatus.records_per_second": {About: "The average rate of the last seconds."},
	"DrainStatus.dead_letters":       {About: "The number of dead letters."},
	"DrainStatus.last_error":         {About: "The last error, which may be over."},
	"DrainStatus.last_error_at":      {About: "The time of the last error."},
	"DrainStatus.next_try":           {About: "The time of the next retry, if one is scheduled."},

	"TestRequest.asked_by": {About: "Who asks for the test, for the record. For a login to the console, the user's name replaces it."},

	"RewindRequest.to":        {About: "Redeliver what was enriched at this time or later."},
	"RewindRequest.operation": {About: "Redeliver everything from the first record of this session on.", MinLength: 1},
	"RewindRequest.skip":      {About: "Rewind forward even if the drain misses records, which become gaps."},

	"RewindPlan.redelivered": {About: "The number of records that the drain has, and would receive again."},
	"RewindPlan.skipped":     {About: "The number of undelivered records that the drain would never receive: with `skip`, gaps replace them."},
	"RewindPlan.at_least":    {About: "Whether there are more: counting them takes too long."},

	"Report.drain":        {About: "The name of the drain."},
	"Report.ok":           {About: "Whether the drain has accepted the record or, if none was written, can be reached."},
	"Report.operation_id": {About: "The ID in the record that was written, if one was."},
	"Report.steps":        {About: "The steps of the test, in order."},
	"Report.notes":        {About: "Which session logs the drain does not get although it can be reached."},

	"Step.step":                {About: "The name of the step."},
	"Step.peer":                {About: "The address that the step is about; missing for the drain as a whole."},
	"Step.result":              {About: "The result.", Values: []string{probe.ResultOK, probe.ResultWarning, probe.ResultFailed, probe.ResultNotTried}},
	"Step.milliseconds":        {About: "The duration, where it was measured."},
	"Step.facts":               {About: "What was found out."},
	"Step.certificates":        {About: "The certificate chain of the drain, its own certificate first."},
	"Step.client_certificates": {About: "The certificate chain that was sent to the drain."},
	"Step.problem":             {About: "The reason of a failure or of a warning."},
	"Step.do":                  {About: "What to do about it."},

	"Certificate.subject":    {About: "The subject."},
	"Certificate.issuer":     {About: "The issuer."},
	"Certificate.not_before": {About: "The start of its validity."},
	"Certificate.not_after":  {About: "The end of its validity."},
	"Certificate.days_left":  {About: "The number of whole days until then; negative after it."},

	"Letter.number":           {About: "The number of the dead letter."},
	"Letter.phi":              {About: "Whether the record may hold protected health information. Lists omit it."},
	"DeadLetter.drain":        {About: "The name of the drain that has refused the record."},
	"DeadLetter.reason":       {About: "The reason, in the drain's words."},
	"DeadLetter.status":       {About: "The status of the drain's response, if there was one."},
	"DeadLetter.time":         {About: "The time of the refusal."},
	"DeadLetter.operation_id": {About: "The ID of the session."},
	"DeadLetter.sequence":     {About: "The sequence of the record in the session."},
	"DeadLetter.gap":          {About: "Whether the record is a gap, of which `sequence` is the first missing record."},
	"DeadLetter.segment":      {About: "The record in ttydrain's own form. Lists omit it."},
	"LetterWithRecord.record": {About: "The record."},

	"LetterGroup.drain":   {About: "The name of the drain."},
	"LetterGroup.reason":  {About: "The reason, in the drain's words."},
	"LetterGroup.status":  {About: "The status of the drain's response to the newest of them, if there was one."},
	"LetterGroup.letters": {About: "The number of dead letters."},
	"LetterGroup.oldest":  {About: "The time of the oldest refusal."},
	"LetterGroup.newest":  {About: "The time of the newest refusal."},
	"LetterCounts.groups": {About: "The counts by drain and reason, the most first."},
	"LetterCounts.last":   {About: "The greatest number of a dead letter that was counted; 0 for none."},
	"LetterCounts.next":   {About: "The number after which to continue; missing if all were counted."},
	"BulkResult.done":     {About: "The number of dead letters that were redelivered or removed."},
	"BulkResult.failed":   {About: "The number of dead letters that failed, and remain."},
	"BulkResult.failures": {About: "Their errors: the first 20 different ones."},
	"BulkResult.next":     {About: "The number after which to continue; missing if all were processed."},
	"BulkFailure.drain":   {About: "The name of the drain."},
	"BulkFailure.error":   {About: "The error."},
	"BulkFailure.letters": {About: "The number of dead letters with this error."},
	"BulkFailure.first":   {About: "The number of the first of them."},

	"SessionStatus.operation_id":  {About: "The ID of the session."},
	"SessionStatus.state":         {About: "The state; empty for a session that does not exist.", Values: []string{operate.SessionRunning, operate.SessionEnded, operate.SessionUnattended, ""}},
	"SessionStatus.stack":         {About: "The stack of the app."},
	"SessionStatus.app":           {About: "The app."},
	"SessionStatus.user":          {About: "The user."},
	"SessionStatus.gateway":       {About: "The gateway that runs the session."},
	"SessionStatus.container":     {About: "The container or sandbox of the session."},
	"SessionStatus.command":       {About: "The command that the user has sent, if there was one."},
	"SessionStatus.interactive":   {About: "Whether it has a terminal."},
	"Origin.origin_address":       {About: "The IP address of the SSH client, or of the last proxy before the gateway."},
	"Origin.origin_client":        {About: "The version that the SSH client has sent."},
	"Origin.origin_method":        {About: "How the user has logged in.", Values: []string{schema.MethodKey, schema.MethodKeyToken, schema.MethodCertificate, schema.MethodCertificateToken}},
	"Origin.origin_key":           {About: "The SHA-256 fingerprint of the user's key."},
	"Origin.origin_serial":        {About: "The serial number of the certificate, in decimal."},
	"Origin.origin_ca":            {About: "The SHA-256 fingerprint of the key that has signed the certificate."},
	"SessionStatus.phi":           {About: "Whether it may hold protected health information."},
	"SessionStatus.started":       {About: "The time of its start."},
	"SessionStatus.expires":       {About: "The time at which it is ended at the latest."},
	"SessionStatus.ended":         {About: "The time of its end."},
	"SessionStatus.reason":        {About: "The reason of its end."},
	"SessionStatus.ended_by":      {About: "The operator who has ended it."},
	"SessionStatus.ended_because": {About: "The operator's reason."},
	"SessionStatus.exit_status":   {About: "The exit status of the command."},
	"SessionStatus.bytes":         {About: "The size of its output; while it runs, as of some seconds ago."},
	"User.id":                     {About: "The user's ID."},
	"User.name":                   {About: "The user's name."},
	"User.email":                  {About: "The user's e-mail address."},

	"Event.index":       {About: "The index of the event: each is one greater than the one before."},
	"Event.time":        {About: "The time."},
	"Event.kind":        {About: "What was done.", Values: eventKinds()},
	"Event.actor":       {About: "Who did it: the user of the console, or the name that a caller with the token has sent, which is not verified."},
	"Event.via":         {About: "How the actor has authenticated.", Values: []string{trail.ViaToken, trail.ViaConsole}},
	"Event.from":        {About: "The IP address of the caller, or `unix socket`."},
	"Event.outcome":     {About: "Whether the event precedes the action, or reports its failure.", Values: []string{trail.Accepted, trail.Failed}},
	"Event.status":      {About: "The HTTP status of a failure."},
	"Event.operation":   {About: "The ID of the session."},
	"Event.operations":  {About: "The IDs of the sessions to end."},
	"Event.user":        {About: "The user whose sessions to end."},
	"Event.app":         {About: "The app."},
	"Event.stack":       {About: "The stack."},
	"Event.reason":      {About: "The operator's reason; of many dead letters, the reason of the refusal that selects them."},
	"Event.drain":       {About: "The drain."},
	"Event.to":          {About: "The time to which the drain was rewound."},
	"Event.dead_letter": {About: "The number of the dead letter; of many, the first and the last number that were selected from, such as `1-20`."},

	"LinkRequest.name":  {About: "The name of the user, for the log and for end records: one line of at most 100 characters.", MinLength: 1, MaxLength: 100},
	"LoginLink.url":     {About: "The link."},
	"LoginLink.expires": {About: "The time until which it can be used."},

	"KillRequest.operations": {About: "The IDs of the sessions to end.", MinLength: 1},
	"KillRequest.app":        {About: "End the running sessions of this app.", MinLength: 1},
	"KillRequest.user":       {About: "End the running sessions of this user: an ID or an e-mail address.", MinLength: 1},
	"KillRequest.asked_by":   {About: "Who asks for it: it goes into the end record, and the user sees it. For a login to the console, the user's name replaces it.", MinLength: 1},
	"KillRequest.reason":     {About: "Why, for the end record and the user.", MaxLength: 300},
	"KillResult.result":      {About: "Whether it has ended.", Values: []string{operate.KillDone, operate.KillLate, operate.KillUnconfirmed, operate.KillUnknown}},
}
