// A Vault for tests: in memory, unsealed, with KV, AppRole and JWT. Prints its address and root token.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	log "github.com/hashicorp/go-hclog"
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// What the catalog of plugins asks for; what is mounted comes from the factories below.
type builtins struct{}

var factories = map[string]logical.Factory{"kv": kv.Factory, "approle": approle.Factory, "jwt": jwt.Factory}

func (builtins) Contains(name string, _ consts.PluginType) bool { return factories[name] != nil }

func (builtins) Get(name string, _ consts.PluginType) (func() (interface{}, error), bool) {
	factory := factories[name]
	return func() (interface{}, error) { return factory, nil }, factory != nil
}

func (builtins) Keys(consts.PluginType) []string { return nil }

func (builtins) DeprecationStatus(name string, _ consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, factories[name] != nil
}

func (builtins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	logger := log.New(&log.LoggerOptions{Output: os.Stderr, Level: log.Warn})
	storage, err := inmem.NewInmem(nil, logger)
	must(err)
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		Logger:             logger,
		DisableMlock:       true,
		BuiltinRegistry:    builtins{},
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory, "jwt": jwt.Factory},
	})
	must(err)
	ctx := context.Background()
	config := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: config})
	must(err)
	_, err = core.Unseal(made.SecretShares[0])
	must(err)
	listener, err := net.Listen("tcp", os.Args[1])
	must(err)
	fmt.Printf("http://%s %s\n", listener.Addr(), made.RootToken)
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}})
	must(http.Serve(listener, handler))
}
