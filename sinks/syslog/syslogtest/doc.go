// Package syslogtest runs real syslog servers for tests, rsyslog and syslog-ng, which receive over
// TLS and write their messages to a file: each one as it arrived and as the server understood it.
//
// They are needed as programs: rsyslogd with the OpenSSL driver (Debian's rsyslog and
// rsyslog-openssl) or with RELP (rsyslog-relp), and syslog-ng (syslog-ng-core). Since Debian's
// packages of the two exclude each other, syslog-ng can be unpacked with dpkg -x, with the
// libraries that it needs, into the folder that the environment variable SYSLOG_NG_ROOT names. A
// test for which a program is absent is skipped with a message that says so, and fails when
// TTYDRAIN_REQUIRE_SERVERS is 1.
package syslogtest
