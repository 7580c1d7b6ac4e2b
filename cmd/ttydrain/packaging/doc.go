// Command packaging builds the release of ttydrain: static binaries for amd64 and arm64, a .deb and
// an .rpm of each, their bills of materials (CycloneDX), and SHA256SUMS. From the root of the
// repository:
//
//	go -C cmd/ttydrain/packaging run . -out dist
//
// The same commit and the same Go build the same bytes, in any folder: all times are those of the
// commit. The folder files has what the packages install besides binaries, manual pages and
// completions.
//
// It is a module of its own, so that ttydrain does not depend on the libraries that it needs.
package main
