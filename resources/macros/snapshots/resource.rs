#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "pet")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// What it is called.
    pub name: String,
    pub private: bool,
    pub token: String,
    pub tenant: i64,
    pub changed: i64,
    pub owner_id: Option<i64>,
    #[sea_orm(belongs_to, from = "owner_id", to = "id")]
    pub owner: BelongsTo<Option<super::user::Entity>>,
    #[sea_orm(has_many, via = "pet_toy")]
    pub toys: HasMany<super::toy::Entity>,
}
/// A new record, as a request says it.
#[derive(Clone, Debug, ::garde::Validate)]
pub struct Create {
    /// What it is called.
    #[garde(length(min = 1))]
    pub name: String,
    /// As [`Model::private`].
    #[garde(skip)]
    pub private: bool,
    /// As [`Model::owner_id`].
    #[garde(skip)]
    pub owner_id: Option<i64>,
}
impl Create {
    fn default_private() -> bool {
        false
    }
    fn default_token() -> String {
        token()
    }
}
impl ::catamaran_resources::__private::Input for Create {
    fn read(
        fields: &mut ::catamaran_resources::__private::Fields,
    ) -> ::core::option::Option<Self> {
        let name = fields.required::<String>("name");
        let private = fields.or::<bool>("private", Self::default_private);
        let owner_id = fields
            .or::<Option<i64>>("owner", ::core::default::Default::default);
        ::core::option::Option::Some(Self {
            name: name?,
            private: private?,
            owner_id: owner_id?,
        })
    }
    fn problems(&self) -> ::std::vec::Vec<::catamaran_resources::__private::Problem> {
        ::catamaran_resources::__private::problems(
            self,
            &[
                ("id", "id"),
                ("name", "name"),
                ("private", "private"),
                ("token", "token"),
                ("tenant", "tenant"),
                ("changed", "changed"),
                ("owner_id", "owner"),
            ],
        )
    }
    fn into_values(self) -> ::catamaran_resources::__private::Values {
        [
            (1, self.name.into()),
            (2, self.private.into()),
            (3, Self::default_token().into()),
            (6, self.owner_id.into()),
        ]
            .into()
    }
}
impl<'de> ::catamaran_resources::__private::Deserialize<'de> for Create {
    fn deserialize<D>(deserializer: D) -> ::core::result::Result<Self, D::Error>
    where
        D: ::catamaran_resources::__private::Deserializer<'de>,
    {
        ::catamaran_resources::__private::deserialize(deserializer)
    }
}
/// Changes to a record, as a request says them: `None` leaves a value as it is, `Some(None)` sets it to null.
#[derive(Clone, Debug, Default, ::garde::Validate)]
pub struct Patch {
    /// What it is called.
    #[garde(length(min = 1))]
    pub name: ::core::option::Option<String>,
    /// As [`Model::private`].
    #[garde(skip)]
    pub private: ::core::option::Option<bool>,
    /// As [`Model::owner_id`].
    #[garde(skip)]
    pub owner_id: ::core::option::Option<Option<i64>>,
}
impl ::catamaran_resources::__private::Input for Patch {
    fn read(
        fields: &mut ::catamaran_resources::__private::Fields,
    ) -> ::core::option::Option<Self> {
        let name = fields.optional::<String>("name");
        let private = fields.optional::<bool>("private");
        let owner_id = fields.optional::<Option<i64>>("owner");
        ::core::option::Option::Some(Self {
            name: name?,
            private: private?,
            owner_id: owner_id?,
        })
    }
    fn problems(&self) -> ::std::vec::Vec<::catamaran_resources::__private::Problem> {
        ::catamaran_resources::__private::problems(
            self,
            &[
                ("id", "id"),
                ("name", "name"),
                ("private", "private"),
                ("token", "token"),
                ("tenant", "tenant"),
                ("changed", "changed"),
                ("owner_id", "owner"),
            ],
        )
    }
    #[allow(unused_mut)]
    fn into_values(self) -> ::catamaran_resources::__private::Values {
        let mut values = ::catamaran_resources::__private::Values::new();
        values.extend(self.name.map(|value| (1, value.into())));
        values.extend(self.private.map(|value| (2, value.into())));
        values.extend(self.owner_id.map(|value| (6, value.into())));
        values
    }
}
impl<'de> ::catamaran_resources::__private::Deserialize<'de> for Patch {
    fn deserialize<D>(deserializer: D) -> ::core::result::Result<Self, D::Error>
    where
        D: ::catamaran_resources::__private::Deserializer<'de>,
    {
        ::catamaran_resources::__private::deserialize(deserializer)
    }
}
impl ::catamaran_resources::Resource for Entity {
    type Policy = OwnPets;
    type Create = Create;
    type Patch = Patch;
    fn meta() -> &'static ::catamaran_resources::Meta {
        static META: ::std::sync::OnceLock<::catamaran_resources::Meta> = ::std::sync::OnceLock::new();
        META.get_or_init(|| {
            let mut meta = ::catamaran_resources::Meta::new::<Self>("pet");
            meta.add_field::<Self, i64>("id", Column::Id).primary_key().generated();
            meta.add_field::<Self, String>("name", Column::Name).create().update();
            meta.add_field::<Self, bool>("private", Column::Private).create().update();
            meta.add_field::<Self, String>("token", Column::Token).hidden();
            meta.add_field::<Self, i64>("tenant", Column::Tenant);
            meta.add_field::<Self, i64>("changed", Column::Changed);
            meta.add_field::<Self, Option<i64>>("owner", Column::OwnerId)
                .nullable()
                .create()
                .update();
            meta.add_association::<
                    super::user::Entity,
                >(
                "owner",
                false,
                || ::catamaran_resources::__private::RelationTrait::def(&Relation::User),
                ::core::option::Option::None,
            );
            meta.add_association::<
                    super::toy::Entity,
                >(
                    "toys",
                    true,
                    || ::catamaran_resources::__private::RelationTrait::def(
                        &super::pet_toy::Relation::Toy,
                    ),
                    ::core::option::Option::Some(|| {
                        <super::pet_toy::Entity as ::catamaran_resources::__private::Related<
                            Entity,
                        >>::to()
                            .rev()
                    }),
                )
                .writable();
            meta.except(&["destroy"]);
            meta
        })
    }
    fn to_json(
        model: &Model,
    ) -> ::std::vec::Vec<::catamaran_resources::__private::Json> {
        [
            ::catamaran_resources::__private::json(&model.id),
            ::catamaran_resources::__private::json(&model.name),
            ::catamaran_resources::__private::json(&model.private),
            ::catamaran_resources::__private::json(&model.token),
            ::catamaran_resources::__private::json(&model.tenant),
            ::catamaran_resources::__private::json(&model.changed),
            ::catamaran_resources::__private::json(&model.owner_id),
        ]
            .into()
    }
    fn from_json(
        columns: &mut ::catamaran_resources::__private::Columns,
    ) -> ::core::result::Result<Model, ::catamaran_resources::__private::Unreadable> {
        ::core::result::Result::Ok(Model {
            id: columns.next()?,
            name: columns.next()?,
            private: columns.next()?,
            token: columns.next()?,
            tenant: columns.next()?,
            changed: columns.next()?,
            owner_id: columns.next()?,
        })
    }
    #[allow(unused_variables)]
    fn on_create(
        viewer: &<Self::Policy as ::catamaran_resources::Policy<Self>>::Viewer,
    ) -> ::catamaran_resources::__private::Values {
        [
            {
                let value: i64 = viewer.tenant;
                (4, value.into())
            },
            {
                let value: i64 = now();
                (5, value.into())
            },
        ]
            .into()
    }
    #[allow(unused_variables)]
    fn on_update(
        viewer: &<Self::Policy as ::catamaran_resources::Policy<Self>>::Viewer,
    ) -> ::catamaran_resources::__private::Values {
        [
            {
                let value: i64 = now();
                (5, value.into())
            },
        ]
            .into()
    }
}
impl<S> ::catamaran_resources::__private::Viewed<S> for Entity
where
    S: Send + Sync + 'static,
    Entity: ::catamaran_resources::__private::Told<S>,
    super::user::Entity: ::catamaran_resources::__private::Told<S>,
    super::toy::Entity: ::catamaran_resources::__private::Told<S>,
{
    const VIEWERS: &'static [::catamaran_resources::__private::Tell<S>] = &[
        <Entity as ::catamaran_resources::__private::Told<S>>::TELL,
        <super::user::Entity as ::catamaran_resources::__private::Told<S>>::TELL,
        <super::toy::Entity as ::catamaran_resources::__private::Told<S>>::TELL,
    ];
}
/// The routes of this resource.
pub const ROUTES: &[::catamaran_resources::__private::Route] = &[
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Get,
        path: "/pet",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "find",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "Lists records of `pet`.",
        params: &[],
    },
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Get,
        path: "/pet/{id}",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "find_one",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "Shows a record of `pet`.",
        params: &["id"],
    },
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Post,
        path: "/pet",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "create",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "Adds a record to `pet`.",
        params: &[],
    },
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Patch,
        path: "/pet/{id}",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "update",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "Changes a record of `pet`.",
        params: &["id"],
    },
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Put,
        path: "/pet/{id}",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "update",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "Changes a record of `pet`; deprecated, use PATCH.",
        params: &["id"],
    },
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Get,
        path: "/pet/{id}/owner",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "populate_owner",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "What `owner` of a record of `pet` leads to.",
        params: &["id"],
    },
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Get,
        path: "/pet/{id}/toys",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "populate_toys",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "What `toys` of a record of `pet` leads to.",
        params: &["id"],
    },
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Put,
        path: "/pet/{id}/toys/{fk}",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "add_to_toys",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "Adds a record to `toys` of a record of `pet`.",
        params: &["id", "fk"],
    },
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Delete,
        path: "/pet/{id}/toys/{fk}",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "remove_from_toys",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "Removes a record from `toys` of a record of `pet`.",
        params: &["id", "fk"],
    },
    ::catamaran_resources::__private::Route {
        method: ::catamaran_resources::__private::Method::Put,
        path: "/pet/{id}/toys",
        transports: ::catamaran_resources::__private::Transports::Both,
        action: "replace_toys",
        module: ::core::module_path!(),
        file: ::core::file!(),
        line: 0,
        doc: "Replaces what `toys` of a record of `pet` leads to.",
        params: &["id"],
    },
];
/// This resource, as `routes!` takes it.
#[allow(non_snake_case)]
pub fn CONTROLLER<S>() -> ::catamaran_resources::__private::Controller<S>
where
    S: ::catamaran_resources::__private::HasResources + Send + Sync + 'static,
    Entity: ::catamaran_resources::__private::Viewed<S>,
{
    use ::catamaran_resources::__private::{Action, Verb, ask};
    ::catamaran_resources::__private::check::<Entity>();
    ::catamaran_resources::__private::Controller {
        routes: ROUTES,
        actions: const {
            &[
                Action {
                    route: ROUTES[0],
                    call: |call| ask::<Entity, S>(call, Verb::Find),
                },
                Action {
                    route: ROUTES[1],
                    call: |call| ask::<Entity, S>(call, Verb::FindOne),
                },
                Action {
                    route: ROUTES[2],
                    call: |call| ask::<Entity, S>(call, Verb::Create),
                },
                Action {
                    route: ROUTES[3],
                    call: |call| ask::<Entity, S>(call, Verb::Update),
                },
                Action {
                    route: ROUTES[4],
                    call: |call| ask::<Entity, S>(call, Verb::Update),
                },
                Action {
                    route: ROUTES[5],
                    call: |call| ask::<Entity, S>(call, Verb::Populate(0)),
                },
                Action {
                    route: ROUTES[6],
                    call: |call| ask::<Entity, S>(call, Verb::Populate(1)),
                },
                Action {
                    route: ROUTES[7],
                    call: |call| ask::<Entity, S>(call, Verb::Add(1)),
                },
                Action {
                    route: ROUTES[8],
                    call: |call| ask::<Entity, S>(call, Verb::Remove(1)),
                },
                Action {
                    route: ROUTES[9],
                    call: |call| ask::<Entity, S>(call, Verb::Replace(1)),
                },
            ]
        },
    }
}
