// Package transfer observes an SFTP session (version 3, draft-ietf-secsh-filexfer-02) between a
// client and its server, and reports each file that was transferred: its path, direction, size and
// SHA-256. It keeps no content.
//
// It reports what crossed the wire. It does not know whether the client stored what it downloaded,
// nor what became of a file afterwards: renames and deletions are not reported.
package transfer
