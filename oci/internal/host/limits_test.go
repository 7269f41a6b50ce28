// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLimitsThatEndABuildAreRefused(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		uid                  int
		addresses, processes uint64
		want                 string
	}{
		"none":   {1000, unix.RLIM_INFINITY, unix.RLIM_INFINITY, ""},
		"enough": {1000, 2_000_000_000, 32, ""},
		"addresses": {1000, 1_200_000_000, unix.RLIM_INFINITY,
			"processes here may have 1200 MB of addresses, and a build needs 2000 MB"},
		"of root": {0, 1_200_000_000, unix.RLIM_INFINITY,
			"processes here may have 1200 MB of addresses, and a build needs 2000 MB"},
		"processes":    {1000, unix.RLIM_INFINITY, 20, "users here may have 20 processes, and a build needs 32"},
		"root is free": {0, unix.RLIM_INFINITY, 20, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := checkLimits(tt.uid, func(resource int) (unix.Rlimit, error) {
				return unix.Rlimit{Cur: map[int]uint64{
					unix.RLIMIT_AS: tt.addresses, unix.RLIMIT_NPROC: tt.processes}[resource]}, nil
			})
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				return
			}
			lack, ok := errors.AsType[*Error](err)
			if !ok || lack.Cause != tt.want || lack.Fix == "" {
				t.Errorf("got %#v, want %q", err, tt.want)
			}
		})
	}
}
