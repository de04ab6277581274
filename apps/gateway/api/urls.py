"""Addresses of /v1 that Django answers: JSON resources beside the model endpoints."""

from django.urls import URLPattern, path, re_path

from apps.gateway.api.alerts import AlertEndpoint, Alerts
from apps.gateway.api.analytics import CostDaily, ModelUsage, UsageForecast
from apps.gateway.api.budgets import DeveloperBudgetItem, DeveloperBudgets
from apps.gateway.api.contacts import Contacts
from apps.gateway.api.credits import (
    DeveloperCredits,
    DeveloperPromoCodes,
    DeveloperWallet,
    UserCredits,
    UserPromoCodes,
)
from apps.gateway.api.developer_apps import AllowanceFunds, AllowanceWithdrawals, DeveloperApp, DeveloperApps
from apps.gateway.api.exports import DeveloperExport, UserExport
from apps.gateway.api.features import FeatureItem, Features
from apps.gateway.api.fees import FeeConsents, Fees, FeeSubscriptionItem, FeeSubscriptions
from apps.gateway.api.health import ProviderHealth
from apps.gateway.api.keys import VirtualKeyItem, VirtualKeys
from apps.gateway.api.local_models import BridgeItem, Bridges, LocalEndpointItem, LocalEndpoints
from apps.gateway.api.local_reports import UsageReports
from apps.gateway.api.manifests import (
    FeatureManifest,
    FeatureManifestRollback,
    FeatureManifestVersion,
    FeatureManifestVersions,
    ManifestSchema,
    ManifestTemplates,
)
from apps.gateway.api.page_links import PageLinks
from apps.gateway.api.payment_methods import AutoTopUp, PaymentMethod
from apps.gateway.api.payouts import DeveloperPayoutAccount, DeveloperPayoutItem, DeveloperPayouts
from apps.gateway.api.plans import DeveloperPlan, DeveloperSubscription, DeveloperSubscriptionResume, Plans
from apps.gateway.api.prompt_logs import AppPromptLogs
from apps.gateway.api.provider_keys import (
    ProviderKeyItem,
    ProviderKeyRotation,
    ProviderKeys,
    ProviderKeyValidation,
)
from apps.gateway.api.receipts import Receipts
from apps.gateway.api.revenue import DeveloperRevenue
from apps.gateway.api.risk import DeveloperRisk
from apps.gateway.api.savings import DeveloperBaseline, DeveloperSavings
from apps.gateway.api.sessions import CurrentSession, Sessions
from apps.gateway.api.stripe import StripeWebhook
from apps.gateway.api.tokens import DeveloperTokenItem, DeveloperTokens
from apps.gateway.api.top_ups import TopUpItem, TopUpRefund, TopUps
from apps.gateway.api.usage import AppUsage
from apps.gateway.api.user_budget import UserBudget
from apps.gateway.api.user_usage import UserUsage
from apps.gateway.api.views import UnknownAddress
from apps.gateway.api.wallet import Wallet

urlpatterns: list[URLPattern] = [
    path("sessions", Sessions.as_view()),
    path("sessions/current", CurrentSession.as_view()),
    path("contacts", Contacts.as_view()),
    path("providers/health", ProviderHealth.as_view()),
    path("user/wallet", Wallet.as_view()),
    path("user/credits", UserCredits.as_view()),
    path("user/promo-codes", UserPromoCodes.as_view()),
    path("user/budget", UserBudget.as_view()),
    path("user/usage", UserUsage.as_view()),
    path("user/page-links", PageLinks.as_view()),
    path("user/top-ups", TopUps.as_view()),
    path("user/top-ups/<str:top_up_id>", TopUpItem.as_view()),
    path("user/top-ups/<str:top_up_id>/refund", TopUpRefund.as_view()),
    path("user/auto-top-up", AutoTopUp.as_view()),
    path("user/payment-method", PaymentMethod.as_view()),
    path("user/exports/usage.csv", UserExport.as_view()),
    path("user/fees", Fees.as_view()),
    path("user/fee-consents", FeeConsents.as_view()),
    path("user/fee-subscriptions", FeeSubscriptions.as_view()),
    path("user/fee-subscriptions/<str:subscription_id>", FeeSubscriptionItem.as_view()),
    path("plans", Plans.as_view()),
    path("developers/<str:developer_id>/plan", DeveloperPlan.as_view()),
    path("developers/<str:developer_id>/subscription", DeveloperSubscription.as_view()),
    path("developers/<str:developer_id>/subscription/resume", DeveloperSubscriptionResume.as_view()),
    path("developers/<str:developer_id>/savings", DeveloperSavings.as_view()),
    path("developers/<str:developer_id>/baseline", DeveloperBaseline.as_view()),
    path("user/provider-keys", ProviderKeys.as_view()),
    path("user/provider-keys/<str:key_id>", ProviderKeyItem.as_view()),
    path("user/provider-keys/<str:key_id>/validate", ProviderKeyValidation.as_view()),
    path("user/provider-keys/<str:key_id>/rotate", ProviderKeyRotation.as_view()),
    path("local/endpoints", LocalEndpoints.as_view()),
    path("local/endpoints/<str:endpoint_id>", LocalEndpointItem.as_view()),
    path("local/bridges", Bridges.as_view()),
    path("local/bridges/<str:bridge_id>", BridgeItem.as_view()),
    path("local/usage-reports", UsageReports.as_view()),
    path("receipts/<str:request_id>", Receipts.as_view()),
    path("apps/<str:app_id>", DeveloperApp.as_view()),
    path("apps/<str:app_id>/allowance-funds", AllowanceFunds.as_view()),
    path("apps/<str:app_id>/allowance-funds/withdraw", AllowanceWithdrawals.as_view()),
    path("apps/<str:app_id>/usage", AppUsage.as_view()),
    path("apps/<str:app_id>/prompt-logs", AppPromptLogs.as_view()),
    path("apps/<str:app_id>/keys", VirtualKeys.as_view()),
    path("apps/<str:app_id>/keys/<str:key_id>", VirtualKeyItem.as_view()),
    path("apps/<str:app_id>/features", Features.as_view()),
    path("apps/<str:app_id>/features/<str:feature_key>", FeatureItem.as_view()),
    path("apps/<str:app_id>/features/<str:feature_key>/manifest", FeatureManifest.as_view()),
    path("apps/<str:app_id>/features/<str:feature_key>/manifest/versions", FeatureManifestVersions.as_view()),
    path(
        "apps/<str:app_id>/features/<str:feature_key>/manifest/versions/<int:number>", FeatureManifestVersion.as_view()
    ),
    path("apps/<str:app_id>/features/<str:feature_key>/manifest/rollback", FeatureManifestRollback.as_view()),
    path("manifest-schema", ManifestSchema.as_view()),
    path("manifest-templates", ManifestTemplates.as_view()),
    path("developers/<str:developer_id>/wallet", DeveloperWallet.as_view()),
    path("developers/<str:developer_id>/credits", DeveloperCredits.as_view()),
    path("developers/<str:developer_id>/top-ups", TopUps.as_view()),
    path("developers/<str:developer_id>/top-ups/<str:top_up_id>", TopUpItem.as_view()),
    path("developers/<str:developer_id>/top-ups/<str:top_up_id>/refund", TopUpRefund.as_view()),
    path("developers/<str:developer_id>/auto-top-up", AutoTopUp.as_view()),
    path("developers/<str:developer_id>/payment-method", PaymentMethod.as_view()),
    path("developers/<str:developer_id>/promo-codes", DeveloperPromoCodes.as_view()),
    path("developers/<str:developer_id>/analytics/cost-daily", CostDaily.as_view()),
    path("developers/<str:developer_id>/analytics/model-usage", ModelUsage.as_view()),
    path("developers/<str:developer_id>/analytics/forecast", UsageForecast.as_view()),
    path("developers/<str:developer_id>/revenue", DeveloperRevenue.as_view()),
    path("developers/<str:developer_id>/exports/<str:kind>.csv", DeveloperExport.as_view()),
    path("developers/<str:developer_id>/risk", DeveloperRisk.as_view()),
    path("developers/<str:developer_id>/payouts", DeveloperPayouts.as_view()),
    path("developers/<str:developer_id>/payouts/<str:payout_id>", DeveloperPayoutItem.as_view()),
    path("developers/<str:developer_id>/payout-account", DeveloperPayoutAccount.as_view()),
    path("developers/<str:developer_id>/apps", DeveloperApps.as_view()),
    path("developers/<str:developer_id>/tokens", DeveloperTokens.as_view()),
    path("developers/<str:developer_id>/tokens/<str:token_id>", DeveloperTokenItem.as_view()),
    path("developers/<str:developer_id>/provider-keys", ProviderKeys.as_view()),
    path("developers/<str:developer_id>/provider-keys/<str:key_id>", ProviderKeyItem.as_view()),
    path("developers/<str:developer_id>/provider-keys/<str:key_id>/validate", ProviderKeyValidation.as_view()),
    path("developers/<str:developer_id>/provider-keys/<str:key_id>/rotate", ProviderKeyRotation.as_view()),
    path("developers/<str:developer_id>/budgets", DeveloperBudgets.as_view()),
    path("developers/<str:developer_id>/budgets/<str:budget_id>", DeveloperBudgetItem.as_view()),
    path("developers/<str:developer_id>/alert-endpoint", AlertEndpoint.as_view()),
    path("developers/<str:developer_id>/alerts", Alerts.as_view()),
    path("stripe/webhook", StripeWebhook.as_view()),
    re_path(r"", UnknownAddress.as_view()),  # last: JSON for whatever else, where Django would send a page
]
