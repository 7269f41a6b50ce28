// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/owners"
	"github.com/vmdebootstrap/vmdebootstrap/oci/internal/seccomp"
)

func TestPeopleBecomeWhomTheyMay(t *testing.T) {
	t.Parallel()
	var root credentials
	user := func(r, e, s uint32) credentials {
		c := credentials{}
		c.ids[seccomp.RealUser], c.ids[seccomp.EffectiveUser], c.ids[seccomp.SavedUser], c.ids[seccomp.FileUser] = r, e, s, e
		return c
	}
	for _, tt := range []struct {
		from credentials
		ids  []uint32 // of setuid, setreuid or setresuid
		want credentials
		err  error
	}{
		{root, []uint32{5}, user(5, 5, 5), nil},
		{root, []uint32{owners.NoID, 5}, user(0, 5, 5), nil},
		{root, []uint32{owners.NoID, 5, owners.NoID}, user(0, 5, 0), nil},
		{user(0, 5, 0), []uint32{0}, user(0, 0, 0), nil},
		{user(0, 5, 0), []uint32{6}, user(0, 5, 0), unix.EPERM},
		{user(5, 6, 7), []uint32{7, 5, 6}, user(7, 5, 6), nil},
		{user(5, 6, 7), []uint32{owners.NoID, 8, owners.NoID}, user(5, 6, 7), unix.EPERM},
		{user(5, 6, 7), []uint32{6, 5}, user(6, 5, 5), nil},
		{root, []uint32{owners.NoID}, root, unix.EINVAL},
	} {
		var got credentials
		var err error
		if len(tt.ids) == 1 {
			got, err = tt.from.set(seccomp.RealUser, tt.ids[0])
		} else {
			got, err = tt.from.setAll(seccomp.RealUser, tt.ids)
		}
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%v to %v: got %v, %v, want %v, %v", tt.from.ids, tt.ids, got.ids, err, tt.want.ids, tt.err)
		}
	}
}
