// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCandidatesFollowTheLadder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want  Isolation
		uid   int
		order []Isolation
	}{
		{IsolationAuto, 1000, []Isolation{IsolationUserNS, IsolationSingle}},
		{"", 0, []Isolation{IsolationUserNS, IsolationRoot, IsolationChroot, IsolationSingle}},
		{IsolationChroot, 0, []Isolation{IsolationChroot}},
	} {
		if got := candidates(tt.want, tt.uid); !slices.Equal(got, tt.order) {
			t.Errorf("%s of %d: got %v, want %v", tt.want, tt.uid, got, tt.order)
		}
	}
	for _, isolation := range []Isolation{IsolationRoot, IsolationChroot} {
		var host *Error
		if err := isolation.suits(1000); !errors.As(err, &host) || host.Fix == "" {
			t.Errorf("%s of an ordinary user: got %v", isolation, err)
		}
	}
}

func TestRefusedCandidatesAreReportedTogether(t *testing.T) {
	t.Parallel()
	got := noneWorks([]error{
		Diagnose(TryClone, unix.EPERM, Facts{root: true}), Diagnose(tryDevices, unix.EPERM, Facts{root: true}),
	})
	var host *Error
	if !errors.As(got, &host) || !strings.Contains(host.Cause, "CAP_SYS_ADMIN is missing") ||
		!strings.Contains(host.Cause, "CAP_MKNOD is missing") ||
		!strings.Contains(host.Fix, "CAP_MKNOD") {
		t.Errorf("got %v", got)
	}
}
