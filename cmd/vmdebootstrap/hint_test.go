// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
)

// Issue 13, 6: advice on an archive that is not trusted existed, and was never printed.
func TestHintFollowsErrorOfUntrustedArchive(t *testing.T) {
	t.Parallel()
	const url = "http://archive.example.org/debian/dists/trixie/InRelease"
	for _, tt := range []struct {
		err  error
		hint string // begins like this; "" for none
	}{
		{&archive.UntrustedError{URL: url, KeyIDs: []string{"0123456789ABCDEF"}}, "if this is the right archive, "},
		{&archive.UntrustedError{URL: url}, "if this is the right archive, "},
		{&archive.UntrustedError{URL: url, Bad: errors.New("hash tag doesn't match")}, "the mirror may be damaged, "},
		{&builder.RepositoryError{Flag: "--repository", Suite: "stable", Err: &archive.UntrustedError{URL: url}},
			"if this is the right repository, name the file with its key: --repository-key FILE"},
		{&builder.ToolsError{Suites: []string{"trixie"}, Tried: []error{errors.New("404 Not Found")}},
			"--tools-mirror URL names a mirror that has trixie of Debian"},
		{&builder.AbsentError{Err: errors.New("404 Not Found"), Mirror: "http://old.example/ubuntu"},
			"what the mirror lacks is at --mirror http://old.example/ubuntu"},
		{&archive.ExpiredError{URL: url}, "if the archive is known to be old, --allow-expired "},
		{&archive.DownloadError{URL: url, Err: &archive.PageError{URL: "http://login.example.org"}},
			"a network that wants a login "},
		{&archive.DownloadError{URL: url, Err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}},
			"check the address and the network; behind a proxy, "},
		{&archive.DownloadError{URL: url, Err: &net.OpError{Op: "proxyconnect", Net: "tcp",
			Err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}}}, "correct or unset http_proxy "},
		{&builder.MissingError{Err: errors.New("no package"), Suite: "trixie", Components: []string{"main"},
			Found: []builder.Elsewhere{{Package: "a", Component: "contrib", Suite: "trixie"},
				{Package: "b", Component: "main", Suite: "sid"}}},
			"--debootstrapopts components=main,contrib has the packages of these components; --package b/sid takes it "},
		{&builder.SpaceError{Dirs: []string{"/a"}, Need: 2e6, Free: 1e6}, "make room there, "},
		{errors.New("disk full"), ""},
	} {
		err := errors.Join(errors.New("the first of two"), fmt.Errorf("resolve: %w", tt.err))
		var stderr bytes.Buffer
		if status := report(t.Context(), &stderr, &cobra.Command{}, err); status != exitFailed {
			t.Errorf("%v: got status %d, want %d", tt.err, status, exitFailed)
		}
		want := fmt.Sprintf("ERROR: the first of two\nERROR: resolve: %v\n", tt.err)
		hint, found := strings.CutPrefix(stderr.String(), want)
		if tt.hint != "" {
			tt.hint = "HINT: " + tt.hint
		}
		if !found || !strings.HasPrefix(hint, tt.hint) || strings.Count(hint, "\n") != min(len(tt.hint), 1) {
			t.Errorf("%v: got %q, want %q and a hint like %q", tt.err, stderr.String(), want, tt.hint)
		}
	}
}

func TestHintIsPrintedForArchiveWithUnknownKey(t *testing.T) {
	t.Parallel()
	o := newOffline(t)
	cmd := o.command(o.machine(), "--mirror="+o.repo.URL(), "--lock-root-password")
	cmd.Args = slices.DeleteFunc(cmd.Args, func(arg string) bool { return strings.HasPrefix(arg, "--debootstrapopts=") })
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err == nil || !strings.Contains(text, "none of which is in the keyring\nHINT: ") ||
		!strings.Contains(text, "--debootstrapopts keyring=FILE") {
		t.Errorf("got %v and\n%s", err, text)
	}
}
