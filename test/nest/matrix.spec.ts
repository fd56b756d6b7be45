/**
 * Every decorator on every kind of method on everything that Nest instantiates: services, request-scoped and transient
 * providers, controllers and GraphQL resolvers, in either order with the decorators of routes, inherited, overridden with
 * `super`, and called through `this`. Runs on Nest 12, and on Nest 11 with `jest.nest11.config.js`.
 */
import 'reflect-metadata';
import { Controller, Get, Injectable, Param, Scope, SetMetadata, type Type } from '@nestjs/common';
import {
  AbstractGraphQLDriver,
  Args,
  GraphQLModule,
  GraphQLSchemaHost,
  Query,
  Resolver,
} from '@nestjs/graphql';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { Test } from '@nestjs/testing';
import { graphql } from 'graphql';
import { CacheEvict, CachePut, Cached, KvModule } from 'nestjs-hotcold';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastValueFrom, of, isObservable, type Observable } from 'rxjs';
import request from 'supertest';

const KINDS = ['async', 'plain', 'inferred', 'observable'] as const;
type Kind = (typeof KINDS)[number];
const ORDERS = ['above', 'below'] as const;
type Order = (typeof ORDERS)[number];

/** How often methods ran since the test began. */
let runs = 0;

interface Host {
  name: string;
  /** Makes the class injectable. */
  ofClass: ClassDecorator;
  /** Makes a method callable from outside. */
  ofMethod: (name: string) => MethodDecorator;
  ofArgument: ParameterDecorator;
  inModule: (type: Type) => object;
  /** Calls a method from outside. */
  call: (app: NestExpressApplication, type: Type, method: string, id: string) => Promise<unknown>;
}

const nothing = (): void => undefined;

async function valueOf(result: unknown): Promise<unknown> {
  return isObservable(result) ? lastValueFrom(result) : result;
}

/** A decorated method in place of the instance's: what a caller in the same application sees. */
function provider(name: string, scope: Scope): Host {
  return {
    name,
    ofClass: Injectable({ scope }),
    ofMethod: () => nothing,
    ofArgument: nothing,
    inModule: (type) => ({ providers: [type] }),
    call: async (app, type, method, id) => {
      const instance: any = scope === Scope.DEFAULT ? app.get(type) : await app.resolve(type);
      return valueOf(instance[method](id));
    },
  };
}

function controller(name: string, scope: Scope): Host {
  return {
    name,
    ofClass: Controller({ scope }),
    ofMethod: (method) => Get(`${method}/:id`),
    ofArgument: Param('id'),
    inModule: (type) => ({ controllers: [type] }),
    call: async (app, _type, method, id) =>
      (await request(app.getHttpServer()).get(`/${method}/${id}`).expect(200)).text,
  };
}

function resolver(name: string, scope: Scope): Host {
  return {
    name,
    ofClass: ((type: Type) => {
      Injectable({ scope })(type);
      Resolver()(type);
    }) as ClassDecorator,
    ofMethod: () => Query(() => String),
    ofArgument: Args('id', { type: () => String }),
    inModule: (type) => ({
      imports: [GraphQLModule.forRoot({ driver: SchemaDriver, autoSchemaFile: true })],
      providers: [type],
    }),
    call: async (app, _type, method, id) => {
      const { schema } = app.get(GraphQLSchemaHost);
      const source = `{ ${method}(id: "${id}") }`;
      const { data, errors } = await graphql({ schema, source, contextValue: { req: {} } });
      if (errors) throw errors[0];
      return data?.[method];
    },
  };
}

/** Serves nothing: the test asks the schema. */
class SchemaDriver extends AbstractGraphQLDriver {
  async start(): Promise<void> {}
  async stop(): Promise<void> {}
}

const HOSTS: Host[] = [
  provider('a service', Scope.DEFAULT),
  provider('a request-scoped provider', Scope.REQUEST),
  provider('a transient provider', Scope.TRANSIENT),
  controller('a controller', Scope.DEFAULT),
  controller('a request-scoped controller', Scope.REQUEST),
  resolver('a GraphQL resolver', Scope.DEFAULT),
  resolver('a request-scoped GraphQL resolver', Scope.REQUEST),
];

const made = (kind: Kind, id: string) => `${kind} ${id} ${++runs}`;
const Marked = SetMetadata('mark', 'yes');

/** A class with all decorators on all kinds of methods. */
function classFor({ ofClass, ofMethod, ofArgument: Id }: Host, order: Order): Type {
  const above = (name: string) => (order === 'above' ? ofMethod(name) : (nothing as MethodDecorator));
  const below = (name: string) => (order === 'below' ? ofMethod(name) : (nothing as MethodDecorator));
  const cached = (kind: Kind) =>
    Cached({ ttl: '1m', key: (id: string) => `${kind}:${id}`, tags: (_, id: string) => [`tag:${id}`] });
  const evict = (kind: Kind) => CacheEvict({ key: (id: string) => `${kind}:${id}` });
  const evictTag = CacheEvict({ tags: (_, id: string) => [`tag:${id}`] });
  const put = (kind: Kind) => CachePut({ ttl: '1m', key: (id: string) => `${kind}:${id}` });

  class Target {
    @above('async')
    @cached('async')
    @Marked
    @below('async')
    async async(@Id id: string): Promise<string> {
      return made('async', id);
    }
    @above('plain')
    @cached('plain')
    @Marked
    @below('plain')
    plain(@Id id: string): string {
      return made('plain', id);
    }
    @above('inferred')
    @cached('inferred')
    @Marked
    @below('inferred')
    inferred(@Id id: string): any {
      return made('inferred', id);
    }
    @above('observable')
    @cached('observable')
    @Marked
    @below('observable')
    observable(@Id id: string): Observable<string> {
      return of(made('observable', id));
    }

    @above('asyncEvict')
    @evict('async')
    @below('asyncEvict')
    async asyncEvict(@Id id: string): Promise<string> {
      return id;
    }
    @above('plainEvict')
    @evict('plain')
    @below('plainEvict')
    plainEvict(@Id id: string): string {
      return id;
    }
    @above('inferredEvict')
    @evict('inferred')
    @below('inferredEvict')
    inferredEvict(@Id id: string): any {
      return id;
    }
    @above('observableEvict')
    @evict('observable')
    @below('observableEvict')
    observableEvict(@Id id: string): Observable<string> {
      return of(id);
    }

    @above('asyncTag')
    @evictTag
    @below('asyncTag')
    async asyncTag(@Id id: string): Promise<string> {
      return id;
    }
    @above('plainTag')
    @evictTag
    @below('plainTag')
    plainTag(@Id id: string): string {
      return id;
    }
    @above('inferredTag')
    @evictTag
    @below('inferredTag')
    inferredTag(@Id id: string): any {
      return id;
    }
    @above('observableTag')
    @evictTag
    @below('observableTag')
    observableTag(@Id id: string): Observable<string> {
      return of(id);
    }

    @above('asyncPut')
    @put('async')
    @below('asyncPut')
    async asyncPut(@Id id: string): Promise<string> {
      return `put ${id}`;
    }
    @above('plainPut')
    @put('plain')
    @below('plainPut')
    plainPut(@Id id: string): string {
      return `put ${id}`;
    }
    @above('inferredPut')
    @put('inferred')
    @below('inferredPut')
    inferredPut(@Id id: string): any {
      return `put ${id}`;
    }
    @above('observablePut')
    @put('observable')
    @below('observablePut')
    observablePut(@Id id: string): Observable<string> {
      return of(`put ${id}`);
    }

    @above('throughThis')
    @below('throughThis')
    async throughThis(@Id id: string): Promise<string> {
      const all = await Promise.all(KINDS.map((kind) => valueOf((this as any)[kind](id))));
      return all.join(', ');
    }
  }
  ofClass(Target);
  return Target;
}

/** The class as it is, and in two ways of inheritance. */
const INHERITANCE: Record<string, (base: Type, host: Host) => Type> = {
  'as it is': (base) => base,
  inherited: (base, { ofClass }) => {
    class Inheriting extends base {}
    ofClass(Inheriting);
    return Inheriting;
  },
};

async function start(host: Host, type: Type): Promise<NestExpressApplication> {
  const { imports = [], ...rest } = host.inModule(type) as { imports?: any[] };
  const testing = await Test.createTestingModule({
    imports: [KvModule.forRoot(), ...imports],
    ...rest,
  }).compile();
  return testing.createNestApplication<NestExpressApplication>({ logger: false }).init();
}

it('stands on the Nest that it is meant to', () => {
  const packageFile = join(require.resolve('@nestjs/core'), '..', 'package.json');
  expect(JSON.parse(readFileSync(packageFile, 'utf8')).version).toMatch(
    (globalThis as any).NEST === 11 ? /^11\./ : /^12\./,
  );
});

describe.each(HOSTS)('on $name', (host) => {
  describe.each(ORDERS)('%s the decorators', (order) => {
    describe.each(Object.keys(INHERITANCE))('%s', (how) => {
      let app: NestExpressApplication;
      let type: Type;
      const call = (method: string, id: string) => host.call(app, type, method, id);

      beforeAll(async () => {
        const base = classFor(host, order);
        type = INHERITANCE[how](base, host);
        app = await start(host, type);
      });
      beforeEach(() => {
        runs = 0;
      });
      afterAll(() => app.close());

      it.each(KINDS)('%s methods are cached, evicted by key and tag, and put', async (kind) => {
        const first = `${kind} a 1`;
        expect([await call(kind, 'a'), await call(kind, 'a')]).toEqual([first, first]);
        expect([await call(kind, 'b'), await call(kind, 'a')]).toEqual([`${kind} b 2`, first]);
        expect(await call(`${kind}Evict`, 'a')).toBe('a');
        expect([await call(kind, 'a'), await call(kind, 'b')]).toEqual([`${kind} a 3`, `${kind} b 2`]);
        expect(await call(`${kind}Tag`, 'a')).toBe('a');
        expect([await call(kind, 'a'), await call(kind, 'b')]).toEqual([`${kind} a 4`, `${kind} b 2`]);
        expect(await call(`${kind}Put`, 'a')).toBe('put a');
        expect([await call(kind, 'a'), runs]).toEqual(['put a', 4]);
      });

      it('calls through this are', async () => {
        const first = await call('throughThis', 'c');
        expect(await call('throughThis', 'c')).toBe(first);
        expect(runs).toBe(KINDS.length);
      });

      it('name, length and metadata are those of the method', () => {
        for (const kind of KINDS) {
          const wrapper = type.prototype[kind];
          expect([wrapper.name, wrapper.length]).toEqual([kind, 1]);
          expect(Reflect.getMetadata('mark', wrapper)).toBe('yes');
        }
      });
    });
  });

  it.each(KINDS)(
    '%s methods that override a cached one and call it are cached on their own',
    async (kind) => {
      const Base = classFor(host, 'above');
      const again = Cached({ key: (id: string) => `again:${kind}:${id}` });
      class Overriding extends Base {}
      const inherited = Base.prototype[kind];
      const override = {
        async: async function (this: any, id: string) {
          return `again ${await Base.prototype.async.call(this, id)}`;
        },
        plain: function (this: any, id: string) {
          return `again ${Base.prototype.plain.call(this, id)}`;
        },
        inferred: function (this: any, id: string) {
          return `again ${Base.prototype.inferred.call(this, id)}`;
        },
        observable: function (this: any, id: string) {
          return of(`again ${id} ${++runs}`);
        },
      }[kind];
      Object.defineProperty(override, 'name', { value: kind });
      Object.defineProperty(Overriding.prototype, kind, {
        value: override,
        writable: true,
        configurable: true,
      });
      const returnType = Reflect.getMetadata('design:returntype', Base.prototype, kind);
      Reflect.defineMetadata('design:returntype', returnType, Overriding.prototype, kind);
      Reflect.defineMetadata('design:paramtypes', [String], Overriding.prototype, kind);
      host.ofArgument(Overriding.prototype, kind, 0);
      const descriptor = Object.getOwnPropertyDescriptor(Overriding.prototype, kind) as PropertyDescriptor;
      again(Overriding.prototype, kind, descriptor);
      host.ofMethod(kind)(Overriding.prototype, kind, descriptor);
      Object.defineProperty(Overriding.prototype, kind, descriptor);
      host.ofClass(Overriding);
      runs = 0;
      const app = await start(host, Overriding);
      const first = await host.call(app, Overriding, kind, 'a');
      expect(first).toMatch(/^again .*a 1$/);
      expect(await host.call(app, Overriding, kind, 'a')).toBe(first);
      expect(runs).toBe(1);
      expect(Overriding.prototype[kind]).not.toBe(inherited);
      await app.close();
    },
  );
});
