// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/vm"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// Issue 17, 7: the page has the text of each class of errors. A test of oci/internal/host holds those of the host.
func TestTroubleshootingHasTheTextOfEachError(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../contrib/doc/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	const url = "http://mirror.example/debian/dists/trixie/InRelease"
	for _, err := range []error{
		&archive.ExpiredError{URL: url, ValidUntil: time.Date(2026, 1, 10, 8, 0, 0, 0, time.UTC),
			Today: time.Date(2026, 1, 11, 8, 0, 0, 0, time.UTC)},
		&archive.UntrustedError{URL: url, KeyIDs: []string{"0123456789ABCDEF"}},
		&archive.UntrustedError{URL: url},
		&archive.UntrustedError{URL: url, Bad: errors.New("hash tag doesn't match")},
		&archive.SuiteError{URL: url, Asked: "trixie", Suite: "oldstable", Codename: "bookworm"},
		&builder.AliasError{Alias: "stable", Want: "trixie", Mirror: "http://mirror.example/debian",
			Codename: "bookworm"},
		&archive.DownloadError{URL: url, Status: "404 Not Found"},
		&archive.DownloadError{URL: url, Err: &archive.ChecksumError{WantSize: 2000, GotSize: 1000}},
		&archive.DownloadError{URL: url, Err: &archive.PageError{URL: "http://login.example/"}},
		&archive.DownloadError{URL: url, Err: refused("192.0.2.1:80")},
		&archive.DownloadError{URL: url, Err: &net.OpError{Op: "proxyconnect", Net: "tcp",
			Err: refused("192.0.2.2:8080")}},
		&builder.AbsentError{Mirror: "http://old-releases.ubuntu.com/ubuntu",
			Err: errors.New("look up suite questing: http://archive.ubuntu.com/ubuntu has no such suite")},
		&builder.ToolsError{Suites: []string{"trixie", "sid"},
			Tried: []error{errors.New("http://mirror.example/debian has no suite trixie")}},
		&archive.UnresolvedError{Missing: []archive.Missing{{Relation: "ngnix", Similar: []string{"nginx"}}}},
		&builder.SpaceError{Dirs: []string{"/home/alice"}, Need: 2e9, Free: 1e9},
		&builder.SpaceError{Dirs: []string{"/home/alice"}, Need: 20000, Free: 1000, Inodes: true},
		&fullError{errors.New("write debian.img: no space left on device"), "/home/alice", ""},
		&builder.Problem{Flag: "--size", Err: &builder.SizeError{Size: 300 * diskimage.MB, Least: 1 * diskimage.GiB,
			Err: &diskimage.NoSpaceError{}}},
		&builder.IDError{Name: "alice", File: "/etc/passwd", ID: 100000, Limit: 65536},
		&vm.NotSeenError{Want: "login:", Reason: vm.Hung, Why: "time is over, and the console has shown nothing"},
		fmt.Errorf("clear /home/alice/.cache/vmdebootstrap: %w", oci.ErrInUse),
		usageErrorf("no such option: --roto-type (did you mean --roottype?)"),
		&builder.StepError{Step: namedStep{}, Err: errors.New("apt-get: exit status 100")},
		&oci.HostError{Cause: "the user alice has no subordinate ids in /etc/subuid",
			Fix: "as root, run: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 alice"},
		childStatus(128 + 9),
		&bugError{guard.Panic{Value: "BUG: a partition without a file system"}},
	} {
		var stderr bytes.Buffer
		report(t.Context(), &stderr, &cobra.Command{}, err)
		for line := range strings.Lines(stderr.String()) {
			line = strings.TrimSuffix(line, "\n")
			if !strings.HasPrefix(line, "Usage: ") && !strings.Contains(string(page), line) {
				t.Errorf("the page has no %q", line)
			}
		}
	}
}

// refused is the error of a connection that the other side does not accept.
func refused(address string) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)),
		Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}
