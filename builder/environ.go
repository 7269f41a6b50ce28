package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"golang.org/x/crypto/scrypt"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// uncounted are variables that hooks get and that are no inputs: the ways to the network, and credentials of one run.
var uncounted = []string{
	"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY",
	"CI_JOB_TOKEN", "GITHUB_TOKEN",
}

// inputVariables are the variables of the caller that are inputs of a hook with this text, sorted.
func inputVariables(caller []string, text []byte) []string {
	variables := slices.DeleteFunc(step.HookEnviron(caller, nil, text), func(kv string) bool {
		name := step.VariableName(kv)
		return slices.Contains(uncounted, name) || slices.ContainsFunc(step.BaseEnv, func(b string) bool { return step.VariableName(b) == name })
	})
	slices.Sort(variables)
	return variables
}

// environHash is a hash of variables that is no help to guess their values, which can be secrets.
func (x *Executor) environHash(variables []string) (string, error) {
	text := string(hashOf(variables...))
	if hash, ok := x.environs[text]; ok {
		return hash, nil
	}
	key, err := scrypt.Key([]byte(text), []byte(firstDigest(x.Cache.Program)), scryptCost, 8, 1, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("BUG: hash of the environment: %w", err)
	}
	if x.environs == nil {
		x.environs = map[string]string{}
	}
	x.environs[text] = hex.EncodeToString(key)
	return x.environs[text], nil
}
