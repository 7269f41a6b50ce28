// SPDX-License-Identifier: Apache-2.0

//go:build faults

package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive/archivetest"
)

// Faults of mirrors, seen from a build: silence lasts as long here as it does there, some minutes in all. Package
// archive has the same faults on a clock of its own.
func TestFaultyMirrors(t *testing.T) {
	t.Parallel()
	page := "<!DOCTYPE html><html>Please log in.</html>"
	for name, fault := range map[string]archivetest.Fault{
		"silent": {Silent: true}, "stalls": {Stall: true}, "trickles": {Trickle: 10 * time.Second},
		"hangs up": {Hangup: true}, "resets": {Reset: true}, "breaks": {Truncate: true}, "cuts": {Cut: true},
		"sends nothing": {Empty: true}, "longer": {Longer: 100}, "page": {Page: page},
		"busy":        {Status: http.StatusServiceUnavailable, RetryAfter: "2"},
		"bad gateway": {Status: http.StatusBadGateway},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t)
			for _, part := range []string{"/InRelease", "binary-amd64", "/busybox_", "/debootstrap_"} {
				o.repo.Inject(part, fault)
			}
			o.build(o.machine())
		})
		t.Run(name+" for ever", func(t *testing.T) {
			t.Parallel()
			o := newOffline(t)
			o.repo.InjectAlways("/busybox_", fault)
			out, err := o.try(o.machine())
			if name == "longer" { // but complete
				if err != nil {
					t.Errorf("got %v and\n%s", err, out)
				}
				return
			}
			if err == nil || !strings.Contains(out, ": attempt 2 of 4 in ") ||
				!strings.Contains(out, "ERROR: ") || strings.Count(out, "busybox_1.0_amd64.deb: ") < 4 {
				t.Errorf("got %v and\n%s", err, out)
			}
		})
	}
	for name, tt := range map[string]struct {
		part, err string
		fault     archivetest.Fault
	}{
		"redirect loop": {"/InRelease", "stopped after 10 redirects",
			archivetest.Fault{Redirect: "/debian/dists/trixie/InRelease"}},
		"wrong digest":       {"/busybox_", "SHA256 mismatch: want ", archivetest.Fault{Corrupt: true}},
		"no index by digest": {"by-hash", "", archivetest.Fault{Status: http.StatusNotFound}},
		"forbidden":          {"/InRelease", "403 Forbidden", archivetest.Fault{Status: http.StatusForbidden}},
		"login needed":       {"/InRelease", "HINT: a network that wants a login ", archivetest.Fault{Page: page}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffline(t)
			o.repo.InjectAlways(tt.part, tt.fault)
			out, err := o.try(o.machine())
			if (err == nil) != (tt.err == "") || !strings.Contains(out, tt.err) {
				t.Errorf("got %v and\n%s", err, out)
			}
		})
	}
}
