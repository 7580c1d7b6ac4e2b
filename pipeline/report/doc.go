// Package report writes what auditors take away: all sessions of a period with their verdicts, and
// what the verdicts rest on, in one signed file.
//
//	audit.Checker ─► Collector ─► Report ─► Write ─► HTML, CSV or JSON ─► Verify
//
// A report contains the results of package audit, and of each session who opened it, from where,
// when, on what, and how it ended. It contains nothing that a session showed.
//
// # Signature
//
// Each format has one place for a signature, at its end. The signature is a compact JWS (RFC 7515)
// of a [Claim], which has the SHA-256 of all bytes of the file around it, so that any change of the
// file is found, also of spaces. The claim repeats the main numbers of the report and the digests
// of its inputs, so that [Verify] need not read the formats.
//
// # Text from users
//
// Names and commands are chosen by users. Hidden characters, such as controls and those that
// reverse the direction of text, are shown by their numbers in HTML and CSV, and escaped in JSON.
// In CSV, a cell that a spreadsheet would take for a formula begins with an apostrophe.
package report
