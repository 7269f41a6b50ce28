// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/target/targettest"
)

// Issue 14, 2: useradd -u 99999000 -m left a home directory of root's, with status 0.
func TestIDsThatCannotOwnFilesEndTheBuild(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		passwd, group string
		ids, want     uint32
	}{
		{passwd: "root:x:0:0::/root:/bin/sh\nbig:x:99999000:1000::/home/big:/bin/sh\n", ids: 65536, want: 99999000},
		{passwd: "big:x:99999000:1000::/home/big:/bin/sh\n"},
		{passwd: "nobody:x:65534:65534::/:/bin/false\nlast:x:65535:100::/:/bin/sh\n", ids: 65536},
		{passwd: "nobody:x:65534:65534::/:/bin/false\n", ids: 1000},
		{group: "users:x:100:\nbig:x:70000:alice\n", ids: 65536, want: 70000},
		{passwd: "+nis\nbroken:x\n", group: "", ids: 10},
	} {
		f := targettest.New(t, map[string]string{"/etc/passwd": tt.passwd, "/etc/group": tt.group})
		x := &Executor{IDs: tt.ids}
		s := &step.Context{Target: f, Log: slog.New(slog.DiscardHandler), Out: step.NewTail(nil)}
		err := x.runStep(t.Context(), step.MachineKeys{}, s)
		wrong, ok := errors.AsType[*IDError](err)
		if ok != (tt.want != 0) || ok && wrong.ID != tt.want || !ok && err != nil {
			t.Errorf("%+v: got %v", tt, err)
		}
	}
}
