// Package ssh measures SSH servers as a user sees them: the time of an echo, the rate of cat, and
// the memory of many sessions. ttydrain is compared with OpenSSH, alone and with session recorders.
package ssh
