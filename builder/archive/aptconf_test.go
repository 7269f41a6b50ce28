// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"testing"
	"testing/fstest"
)

func TestHostAllowsExpired(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  bool
	}{
		{"nothing", nil, false},
		{"one line", map[string]string{"apt.conf.d/99snapshot": `Acquire::Check-Valid-Until "false";`}, true},
		{"in a block", map[string]string{"apt.conf": "Acquire {\n  Retries 3; // more\n  check-valid-until \"0\";\n};\n"}, true},
		{"other block", map[string]string{"apt.conf": `APT { Get { Assume-Yes "no"; }; }; DPkg { Check-Valid-Until "no"; };`},
			false},
		{"comments", map[string]string{"apt.conf": "# Acquire::Check-Valid-Until \"false\";\n" +
			"// Acquire::Check-Valid-Until no;\n/* Acquire::Check-Valid-Until no; */\n"}, false},
		{"later counts", map[string]string{"apt.conf.d/10a": `Acquire::Check-Valid-Until no;`,
			"apt.conf": `Acquire::Check-Valid-Until yes;`}, false},
		{"other suffix", map[string]string{"apt.conf.d/10a.bak": `Acquire::Check-Valid-Until no;`}, false},
		{"broken", map[string]string{"apt.conf": `}} "Acquire::Check-Valid-Until`}, false},
	} {
		files := fstest.MapFS{}
		for name, text := range tt.files {
			files["etc/apt/"+name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := HostAllowsExpired(files); got != tt.want {
			t.Errorf("%s: got %t", tt.name, got)
		}
	}
}
